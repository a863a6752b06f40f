"""Many connections in one thread: a fixed number of clients, or fixed arrivals.

At a rate the request times are set beforehand and latency counts from them, so a
server that stalls cannot hide how many it kept waiting (coordinated omission).
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Iterator, Sequence

from benchmarks.load.connection import Connection
from benchmarks.load.outcome import LoadResult, Outcome

_MAX_CONNECTIONS = 900
"""Below the usual limit of open files; requests beyond wait, and their clock runs."""

_PATIENCE_SECONDS = 60.0


class Loop:
    """The connections to one server."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self._address = address
        self._request = request
        self._selector = selectors.DefaultSelector()
        self._idle: list[Connection] = []
        self._outcomes: list[Outcome] = []
        self.busy = 0

    def run_clients(self, clients: int, seconds: float) -> LoadResult:
        """Each of *clients* posts again as soon as it is answered, for *seconds*."""
        began, spent = time.perf_counter(), time.process_time()
        for _ in range(clients):
            self._start(time.perf_counter())
        while self.busy and time.perf_counter() < began + seconds + _PATIENCE_SECONDS:
            for _ in self._turn(1.0):
                now = time.perf_counter()
                if now < began + seconds:
                    self._start(now)
        return self._result(began, spent)

    def run_at(self, arrivals: Sequence[float], seconds: float) -> LoadResult:
        """Post at *arrivals*, within *seconds*, whatever the answers do."""
        began, spent = time.perf_counter(), time.process_time()
        dues = deque(began + arrival for arrival in arrivals)
        while dues or self.busy:
            now = time.perf_counter()
            if now > began + seconds + _PATIENCE_SECONDS:
                break
            while dues and dues[0] <= now and self.busy < _MAX_CONNECTIONS:
                self._start(dues.popleft())
            full = self.busy >= _MAX_CONNECTIONS
            for _ in self._turn(max(dues[0] - now, 0) if dues and not full else 1.0):
                pass
        return self._result(began, spent)

    def _start(self, due: float) -> None:
        connection = self._idle.pop() if self._idle else self._connect()
        connection.start(due)
        self.busy += 1
        self._watch(connection)

    def _connect(self) -> Connection:
        connection = Connection(self._address, self._request)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _watch(self, connection: Connection) -> None:
        events = selectors.EVENT_READ
        if connection.sending:
            events |= selectors.EVENT_WRITE
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _turn(self, timeout: float) -> Iterator[Outcome]:
        for key, events in self._selector.select(timeout):
            connection: Connection = key.data
            if events & selectors.EVENT_WRITE:
                connection.send()
                self._watch(connection)
            if events & selectors.EVENT_READ:
                outcome = self._read(connection)
                if outcome is not None:
                    self._outcomes.append(outcome)
                    yield outcome

    def _read(self, connection: Connection) -> Outcome | None:
        if not connection.busy:
            self._idle.remove(connection)  # the server closes what idles
            self._drop(connection)
            return None
        outcome = connection.receive()
        if outcome is not None:
            self.busy -= 1
            if connection.reusable:
                self._idle.append(connection)
            else:
                self._drop(connection)
        return outcome

    def _drop(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.close()

    def _result(self, began: float, spent: float) -> LoadResult:
        unanswered = [Outcome(0, time.perf_counter() - began)] * self.busy
        return LoadResult(
            (*self._outcomes, *unanswered),
            time.perf_counter() - began,
            time.process_time() - spent,
        )
