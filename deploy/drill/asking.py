"""What is asked of the service while something is away, each on a connection of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.drill.load import NO_ANSWER, OK

_PATIENCE_SECONDS: Final = 30.0
_NOT_READY: Final = 503


def prediction(port: int, photo: Path) -> Callable[[], int]:
    """A call that has *photo* predicted and returns the status."""
    content = photo.read_bytes()
    kind = {"Content-Type": f"image/{photo.suffix[1:]}"}

    def ask() -> int:
        return _exchange(port, "POST", "/v1/predict", content, kind)[0]

    return ask


def readiness(port: int) -> Callable[[], int]:
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
