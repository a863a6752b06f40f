"""Refuses requests under an overload before a thread or Flask has to do with them.

What a refusal costs is taken from those who are answered: through Flask it is a fifth of
a prediction, here a fiftieth. Only plain requests are refused here; the rest are refused
in the gate, with the same words.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Final

from flask import Flask

from service.gate import Gate
from service.observation.hooks import UNMATCHED
from service.observation.metrics.traffic import TrafficMetrics
from service.protection.cors import Cors
from service.protection.glance import WaitingRequest
from service.protection.quick_line import QuickLine
from service.protection.refusals import render_overload

TELL_SECONDS: Final = 1.0
"""One log line for so many seconds of refusals: a line each would cost more than they."""

_EXTENSION: Final = "kennel.turn_away"

_log = logging.getLogger("kennel.access")


class TurnAway:
    """Refuses what waits at a connection while the gate is crowded; for one thread."""

    def __init__(
        self, app: Flask, gate: Gate, traffic: TrafficMetrics, cors: Cors | None = None
    ) -> None:
        """Refuse in place of *app*, whose *gate* it is, and count that in *traffic*.

        Pages that *cors* lists may read the refusal.
        """
        self._gate = gate
        self._cors = cors or Cors()
        self._traffic = traffic
        self._routes = {
            rule.rule for rule in app.url_map.iter_rules() if not rule.arguments
        }
        self._line = QuickLine()
        self._untold = 0
        self._told = 0.0

    def refuse(self, connection: socket.socket, under_way: int) -> bool:
        """Whether the request that waits at *connection* was answered.

        *under_way*: requests that threads have or will have before it.

        If so, the next one may come; if not, nothing was read or sent.

        Raises:
            OSError: the connection broke.
        """
        if not self._gate.is_crowded(under_way):
            return False
        waiting = WaitingRequest.read(self._line.peek(connection))
        if waiting is None:
            return False
        more = self._cors.headers(waiting.origin)
        refusal = render_overload(self._gate.refusal(), waiting.request_id, more)
        self._line.take(connection, waiting.size)
        self._line.send(connection, refusal.response)
        route = waiting.path if waiting.path in self._routes else UNMATCHED
        self._traffic.refused(waiting.method, route, refusal.status)
        self._untold += 1
        return True

    def has_left(self, connection: socket.socket) -> bool:
        """Whether the client of *connection* has closed it, and sent nothing more."""
        return self._line.is_at_end(connection)

    def tell(self) -> None:
        """Log how many were refused, if it is time."""
        now = time.monotonic()
        if self._untold and now - self._told >= TELL_SECONDS:
            _log.warning("%d requests were refused unread: overloaded", self._untold)
            self._untold, self._told = 0, now


def register_turn_away(
    app: Flask, gate: Gate, traffic: TrafficMetrics, cors: Cors
) -> None:
    """Let the server of *app* refuse in its place; all routes have to be there."""
    app.extensions[_EXTENSION] = TurnAway(app, gate, traffic, cors)


def turn_away_of(app: Flask) -> TurnAway:
    """What `register_turn_away` gave *app*."""
    found: TurnAway = app.extensions[_EXTENSION]
    return found
