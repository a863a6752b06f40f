"""A steady load of requests, and what it saw of one event: failures, pauses, promises."""

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
"""Instead of a status: the connection was refused, broke, or stayed silent."""

_MOST_WAITING: Final = 400


@dataclass(frozen=True)
class Request:
    """One request that has ended.

    Attributes:
        asked: when it should have been sent, on the monotonic clock.
        ended: when its answer was there, or it was clear that none comes.
        status: HTTP status, or `NO_ANSWER`.
    """

    asked: float
    ended: float
    status: int

    @property
    def failed(self) -> bool:
        """Whether it got anything but what it asked for."""
        return self.status != OK


class Load:
    """Calls *ask*, which returns a status, *rate* times a second; a context manager.

    Requests come at times set beforehand, so that one that hangs delays no other.
    """

    def __init__(self, ask: Callable[[], int], rate: float) -> None:
        """Nothing is asked before the context is entered."""
        self.requests: list[Request] = []
        self._ask = ask
        self._seconds = 1 / rate
        self._enough = threading.Event()
        self._pool = ThreadPoolExecutor(_MOST_WAITING)
        self._clock = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Begin."""
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more, and wait until every request has ended."""
        self._enough.set()
        self._clock.join()
        self._pool.shutdown()

    def wait_for(self, requests: int, seconds: float) -> None:
        """Return when so many *requests* have ended, at the latest after *seconds*."""
        deadline = time.monotonic() + seconds
        while len(self.requests) < requests and time.monotonic() < deadline:
            time.sleep(self._seconds)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._enough.wait(max(0.0, due - time.monotonic())):
            self._pool.submit(self._one, due)
            due += self._seconds

    def _one(self, due: float) -> None:
        status = self._ask()
        self.requests.append(Request(due, time.monotonic(), status))


_PATIENCE_SECONDS: Final = 30.0
_NOT_READY: Final = 503


def call_predict(port: int, photo: Path) -> Callable[[], int]:
    """A call that has *photo* predicted and returns the status."""
    content = photo.read_bytes()
    kind = {"Content-Type": f"image/{photo.suffix[1:]}"}

    def ask() -> int:
        return _exchange(port, "POST", "/v1/predict", content, kind)[0]

    return ask


def call_readyz(port: int) -> Callable[[], int]:
    """A call that returns 200 only if every part that /readyz knows is well."""

    def ask() -> int:
        status, body = _exchange(port, "GET", "/readyz")
        whole = status == OK and json.loads(body)["status"] == "ready"
        return OK if whole else status if status != OK else _NOT_READY

    return ask


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
