"""How long a client may take to send a request, and the reader that insists on it.

One timeout for each read would not do: a client that sends a byte now and then never
meets it. So the head has a deadline, and a body has one that moves with what arrives.
"""

from __future__ import annotations

import math
import socket
import time
from dataclasses import dataclass
from typing import Any, Final

from gunicorn.http.unreader import (  # type: ignore[import-untyped]
    SocketUnreader,
)

from service.protection.errors import SlowClientError

SEND_SECONDS: Final = 30.0
"""How long a client may not take anything of an answer before it is given up."""


@dataclass(frozen=True)
class Patience:
    """What a client may take for one request.

    Attributes:
        head_seconds: from its first byte to the end of its headers.
        body_seconds: for its body, and another second for each *body_bytes_per_second*
            that arrived: large uploads over slow lines are welcome, trickles are not.
    """

    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_bytes_per_second: float = 64 * 1024

    @classmethod
    def of(cls, body_seconds: float) -> Patience:
        """With *body_seconds*; heads need not have more."""
        return cls(min(cls.head_seconds, body_seconds), body_seconds)


class PatientReader(SocketUnreader):  # type: ignore[misc]
    """Reads a connection as gunicorn does, until patience is at its end.

    The socket's own timeout has to be SEND_SECONDS.
    """

    def __init__(self, connection: socket.socket, patience: Patience) -> None:
        """Read from *connection*; `expect_head` or `expect_body` come first."""
        super().__init__(connection)
        self._patience = patience
        self._deadline = 0.0
        self._bytes_per_second = math.inf

    def expect_head(self) -> None:
        """From now on the head of a request is read."""
        self.expect_rest(self._patience.head_seconds)

    def expect_body(self) -> None:
        """From now on its body is read."""
        self._deadline = time.monotonic() + self._patience.body_seconds
        self._bytes_per_second = self._patience.body_bytes_per_second

    def expect_rest(self, seconds: float) -> None:
        """From now on what nobody wanted of the body is read, for that long."""
        self._deadline = time.monotonic() + seconds
        self._bytes_per_second = math.inf

    def chunk(self, size_hint: int | None = None) -> Any:
        """The next bytes; none at the end of the connection.

        Raises:
            SlowClientError: they did not come in time.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _too_slow()
        self.sock.settimeout(left)
        try:
            data = super().chunk(size_hint)
        except TimeoutError as error:
            raise _too_slow() from error
        finally:
            self.sock.settimeout(SEND_SECONDS)
        self._deadline += len(data) / self._bytes_per_second
        return data


def _too_slow() -> SlowClientError:
    return SlowClientError("the request did not arrive in time: send it without pauses")
