"""A request's deadline, where its time went, and whether its client is still connected.

Every wait inside a request ends at the request's deadline, so that no layer outlives the one
above it. A thread that waits for the model server cannot watch its connection, so one thread
of the process watches all connections. The kernel reports their ends (EPOLLRDHUP), without
polling. As in nginx, a client that closes only its half counts as gone.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from werkzeug.datastructures import Headers

from models.errors import InvalidRequestError, ModelTimeoutError, quoted
from service.http.errors import ClientGoneError
from service.http.threads import BackgroundThread

TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"

MIN_TIMEOUT_SECONDS: Final = 0.1
MAX_TIMEOUT_SECONDS: Final = 25.0
"""Below gunicorn's graceful timeout, so that a stop never cuts an answer off."""

_ANSWER_SECONDS: Final = 0.05
"""Reserved for writing the answer, so that a client gets a 504 before it gives up."""


class Budget:
    """One request's deadline and stop-watch; not shared between requests.

    Attributes:
        spent: seconds by part.
        begun: when each part first began, by `time.perf_counter`.
        disconnect: ends the request before its deadline.
    """

    def __init__(self, seconds: float, disconnect: Disconnect | None = None) -> None:
        """Start now; the deadline is in *seconds*."""
        self.seconds = seconds
        self.disconnect = disconnect or Disconnect()
        self.spent: dict[str, float] = {}
        self.begun: dict[str, float] = {}
        self._deadline = time.monotonic() + seconds - _ANSWER_SECONDS

    def left(self) -> float:
        """Seconds until the deadline, more than zero.

        Raises:
            ModelTimeoutError: nothing is left.
            ClientGoneError: the client closed its connection.
        """
        self.disconnect.check()
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self.exhausted()
        return left

    def part(self, share: float) -> Budget:
        """A budget of *share* (0..1) of the time left; what it spends counts here too.

        Raises:
            ModelTimeoutError: nothing is left.
        """
        part = Budget(self.left() * share + _ANSWER_SECONDS, self.disconnect)
        part.spent, part.begun = self.spent, self.begun
        return part

    def exhausted(self) -> ModelTimeoutError:
        """The error of a request whose budget is spent."""
        milliseconds = round(self.seconds * 1000)
        return ModelTimeoutError(
            f"no answer within the request's {milliseconds} ms: try again, send fewer "
            f"images, or allow more with {TIMEOUT_HEADER}"
        )

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time inside to what *part* has spent."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - start)

    def add(self, part: str, seconds: float) -> None:
        """Add *seconds*, which end now, to what *part* has spent."""
        self.begun.setdefault(part, time.perf_counter() - seconds)
        self.spent[part] = self.spent.get(part, 0.0) + seconds

    def server_timing(self) -> str:
        """The parts as a ``Server-Timing`` header, in milliseconds."""
        return ", ".join(
            f"{part};dur={seconds * 1000:.1f}" for part, seconds in self.spent.items()
        )


def read_budget(headers: Headers, default_seconds: float) -> Budget:
    """The budget of a request with *headers*, from now on.

    Raises:
        InvalidRequestError: as `read_timeout`.
    """
    return Budget(read_timeout(headers, default_seconds))


def read_timeout(headers: Headers, default_seconds: float) -> float:
    """The timeout in a request's *headers* in seconds, kept within the limits.

    Raises:
        InvalidRequestError: the header is not a whole number.
    """
    header = headers.get(TIMEOUT_HEADER)
    if header is None:
        return default_seconds
    if not (header.isascii() and header.isdigit()) or len(header) > 12:
        message = f"{TIMEOUT_HEADER}: {quoted(header)} is not a whole number: use 10000"
        raise InvalidRequestError(message)
    return min(max(int(header) / 1000, MIN_TIMEOUT_SECONDS), MAX_TIMEOUT_SECONDS)


class Disconnect:
    """Whether one request's client has closed its connection; thread-safe."""

    def __init__(self) -> None:
        """The client is still connected."""
        self._lock = threading.Lock()
        self._calls: list[Callable[[], object]] = []
        self._is_gone = False

    def notify(self) -> None:
        """Note that the client is gone; run the callbacks of all `calling` blocks once."""
        with self._lock:
            self._is_gone = True
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def check(self) -> None:
        """Make sure that the client is still connected.

        Raises:
            ClientGoneError: it is not.
        """
        if self._is_gone:
            message = "the client closed the connection before it had its answer"
            raise ClientGoneError(message)

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """In the block, *call* from another thread when the client disconnects.

        Raises:
            ClientGoneError: it is gone already.
        """
        with self._lock:
            self.check()
            self._calls.append(call)
        try:
            yield
        finally:
            with self._lock, suppress(ValueError):
                self._calls.remove(call)


class DisconnectWatcher:
    """Watches the connections whose requests are in work; thread-safe."""

    def __init__(self) -> None:
        """Watch nothing yet; no thread before there is a connection."""
        # Systems without epoll: there, requests end with their budgets.
        self._poller: Any = select.epoll() if hasattr(select, "epoll") else None
        self._watched: dict[int, tuple[socket.socket, Disconnect]] = {}
        self._lock = threading.Lock()
        self._thread = BackgroundThread(self._run, "disconnects")

    @contextmanager
    def watching(self, connection: socket.socket | None) -> Iterator[Disconnect]:
        """Watch *connection* in the block: the result is notified when its client leaves.

        Without a connection it never is.
        """
        disconnect = Disconnect()
        if connection is None or self._poller is None:
            yield disconnect
            return
        number = connection.fileno()
        with self._lock:
            self._watched[number] = (connection, disconnect)
            self._poller.register(number, select.EPOLLRDHUP | select.EPOLLONESHOT)
        self._thread.start()
        try:
            yield disconnect
        finally:
            with self._lock:
                del self._watched[number]
                self._poller.unregister(number)

    def _run(self) -> None:
        while True:
            for number, _ in self._poller.poll():
                if disconnect := self._ended(number):
                    disconnect.notify()

    def _ended(self, number: int) -> Disconnect | None:
        with self._lock:
            connection, disconnect = self._watched.get(number, (None, None))
            # The number may be another connection's by now.
            if connection is None or not _is_at_end(connection):
                return None
            return disconnect


def _is_at_end(connection: socket.socket) -> bool:
    with suppress(BlockingIOError):
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            return connection.recv(1, flags) == b""
        except ConnectionError:
            return True
    return False
