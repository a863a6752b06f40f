"""Notices clients that close their connections while their requests are in work.

A thread that waits for the model server cannot look at its connection. One thread of the
process waits for the end of all of them: the kernel tells it (EPOLLRDHUP), nobody polls.
As in nginx, a client that closes only its half counts as gone.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from service.budget import HangUp
from service.late_thread import LateThread


class HangUps:
    """The connections whose requests are in work; thread-safe."""

    def __init__(self) -> None:
        """Watch nothing yet; no thread before there is something."""
        # Other systems have none: there, requests end with their budgets.
        self._poller: Any = select.epoll() if hasattr(select, "epoll") else None
        self._watched: dict[int, tuple[socket.socket, HangUp]] = {}
        self._lock = threading.Lock()
        self._thread = LateThread(self._run, "hang-ups")

    @contextmanager
    def watching(self, connection: socket.socket | None) -> Iterator[HangUp]:
        """What tells, in the block, that the client of *connection* has gone.

        None as *connection*: it never does.
        """
        hang_up = HangUp()
        if connection is None or self._poller is None:
            yield hang_up
            return
        number = connection.fileno()
        with self._lock:
            self._watched[number] = (connection, hang_up)
            self._poller.register(number, select.EPOLLRDHUP | select.EPOLLONESHOT)
        self._thread.start()
        try:
            yield hang_up
        finally:
            with self._lock:
                del self._watched[number]
                self._poller.unregister(number)

    def _run(self) -> None:
        while True:
            for number, _ in self._poller.poll():
                if hang_up := self._ended(number):
                    hang_up.tell()

    def _ended(self, number: int) -> HangUp | None:
        with self._lock:
            connection, hang_up = self._watched.get(number, (None, None))
            # The number may be another connection's by now.
            if connection is None or not _is_at_end(connection):
                return None
            return hang_up


def _is_at_end(connection: socket.socket) -> bool:
    with suppress(BlockingIOError):
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            return connection.recv(1, flags) == b""
        except ConnectionError:
            return True
    return False
