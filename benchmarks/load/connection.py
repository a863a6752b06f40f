"""One keep-alive connection that posts the same prepared request, without blocking.

As little Python a request as possible: on a small machine the load competes with what
is measured.
"""

from __future__ import annotations

import re
import socket
import time
from typing import Final

from benchmarks.load.outcome import Outcome

_LENGTH: Final = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER: Final = re.compile(rb"\r\nRetry-After: *\d+", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nConnection: *close", re.IGNORECASE)
_CHUNK_BYTES: Final = 64 * 1024


class Connection:
    """Posts one request at a time.

    Attributes:
        socket: for a selector.
        busy: a request is under way.
        reusable: another request may follow the last one.
    """

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.socket = socket.create_connection(address, timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.busy = False
        self.reusable = True
        self._request = memoryview(request)
        self._unsent = self._request[:0]
        self._received = b""
        self._due = 0.0

    @property
    def sending(self) -> bool:
        return len(self._unsent) > 0

    def start(self, due: float) -> None:
        """Begin a request that should have been sent at *due*."""
        self._due = due
        self._unsent = self._request
        self._received = b""
        self.busy = True
        self.send()

    def send(self) -> None:
        """Send as much as the line takes."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            # Perhaps an answer came before all was sent: reading will tell.
            self._unsent = self._request[:0]
            self.reusable = False

    def receive(self) -> Outcome | None:
        """Read what there is; the outcome if that completes the answer."""
        try:
            chunk = self.socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            chunk = b""
        self._received += chunk
        outcome = self._outcome() if chunk else Outcome(0, self._seconds())
        if outcome is not None:
            self.busy = False
            self.reusable &= outcome.status != 0 and not self.sending
        return outcome

    def close(self) -> None:
        self.socket.close()

    def _outcome(self) -> Outcome | None:
        head, complete, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if complete else None
        if length is None or len(body) < int(length[1]):
            return None
        self.reusable &= _CLOSE.search(head) is None
        retry_after = _RETRY_AFTER.search(head) is not None
        return Outcome(int(head[9:12]), self._seconds(), retry_after)

    def _seconds(self) -> float:
        return time.perf_counter() - self._due
