"""Open connections that wait for a request, and when waiting for one is over.

A client may send its next request in the moment in which its connection is given up; it
would see the connection break without an answer. gunicorn gives up whoever its poller
has not mentioned, and under load what the poller said is many milliseconds old.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from itertools import takewhile

from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped]


def spare_speakers(waiting: deque[TConn]) -> None:
    """Let those of the connections *waiting* stay whose request is there by now.

    They are sorted by their timeouts, before and after; nothing is read.
    """
    now = time.monotonic()
    for connection in list(takewhile(lambda each: each.timeout <= now, waiting)):
        if _has_spoken(connection.sock):
            renew(connection, waiting)


def renew(connection: TConn, waiting: deque[TConn]) -> None:
    """Begin *connection*'s time anew: it is the last of those *waiting* to be given up."""
    waiting.remove(connection)
    connection.set_timeout()
    waiting.append(connection)


def _has_spoken(line: socket.socket) -> bool:
    try:
        return bool(line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
