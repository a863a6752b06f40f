"""A steady load of requests, and the outcome of each."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

OK: Final = 200
NO_ANSWER: Final = 0
"""Instead of a status: the connection was refused, broke, or timed out."""

_MOST_WAITING: Final = 400
_PATIENCE_SECONDS: Final = 30.0
_NOT_READY: Final = 503


@dataclass(frozen=True)
class Request:
    """One request that has ended.

    Attributes:
        asked: when it was due, on the monotonic clock.
        ended: when its answer was complete, or it failed.
        status: HTTP status, or `NO_ANSWER`.
    """

    asked: float
    ended: float
    status: int

    @property
    def failed(self) -> bool:
        """Whether the answer was not a 200."""
        return self.status != OK


class Load:
    """Makes a request *rate* times a second, each a call that returns a status.

    A context manager. Times are set beforehand, so that a request that hangs delays no
    other.
    """

    def __init__(self, call: Callable[[], int], rate: float) -> None:
        """Prepare the load; it starts when the context is entered."""
        self.requests: list[Request] = []
        self._call = call
        self._seconds = 1 / rate
        self._enough = threading.Event()
        self._pool = ThreadPoolExecutor(_MOST_WAITING)
        self._clock = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Start the load."""
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send no more requests, and wait until every one has ended."""
        self._enough.set()
        self._clock.join()
        self._pool.shutdown()

    def wait_for(self, requests: int, seconds: float) -> None:
        """Wait until so many *requests* have ended, at most *seconds*."""
        deadline = time.monotonic() + seconds
        while len(self.requests) < requests and time.monotonic() < deadline:
            time.sleep(self._seconds)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._enough.wait(max(0.0, due - time.monotonic())):
            self._pool.submit(self._one, due)
            due += self._seconds

    def _one(self, due: float) -> None:
        status = self._call()
        self.requests.append(Request(due, time.monotonic(), status))


def call_predict(port: int, photo: Path) -> Callable[[], int]:
    """A call that posts *photo* to /v1/predict and returns the status."""
    content = photo.read_bytes()
    kind = {"Content-Type": f"image/{photo.suffix[1:]}"}

    def call() -> int:
        return _exchange(port, "POST", "/v1/predict", content, kind)[0]

    return call


def call_readyz(port: int) -> Callable[[], int]:
    """A call that returns 200 only if every part that /readyz knows is ready."""

    def call() -> int:
        status, body = _exchange(port, "GET", "/readyz")
        whole = status == OK and json.loads(body)["status"] == "ready"
        return OK if whole else status if status != OK else _NOT_READY

    return call


def _exchange(
    port: int,
    method: str,
    path: str,
    content: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=_PATIENCE_SECONDS
    )
    try:
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return NO_ANSWER, b""
    finally:
        connection.close()
