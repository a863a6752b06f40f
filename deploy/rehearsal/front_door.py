"""What whoever comes from outside meets: pages, limits, and room beside slow clients."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any, Final

from deploy.trial.deployment import Deployment
from models.errors import KennelError

SLOW_CLIENTS: Final = 200
"""More than the API has threads: 2 replicas with 2 processes of 40 each."""

_TOO_LARGE_BYTES: Final = 10**9


def rehearse(deployment: Deployment) -> list[str]:
    """Ask as browsers, scrapers, and clients with too much or too slow do.

    Raises:
        KennelError: an answer is not the promised one.
    """
    _expect(deployment, "/", 200, "text/html")
    _expect(deployment, "/metrics", 404, "application/problem+json")
    _too_large(deployment)
    seconds = _beside_slow_clients(deployment)
    return [
        "page, hidden metrics and refusal of a large body as promised",
        f"beside {SLOW_CLIENTS} slow clients an answer takes {seconds:.2f} s",
    ]


def _expect(deployment: Deployment, path: str, status: int, kind: str) -> None:
    connection = HTTPConnection("127.0.0.1", deployment.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    seen = answer.status, str(answer.headers.get_content_type())
    connection.close()
    if seen != (status, kind):
        raise KennelError(f"GET {path} answers {seen}, not {(status, kind)}")


def _too_large(deployment: Deployment) -> None:
    connection = HTTPConnection("127.0.0.1", deployment.port, timeout=10)
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Type", "image/png")
    connection.putheader("Content-Length", str(_TOO_LARGE_BYTES))
    connection.endheaders()
    answer = connection.getresponse()
    problem: dict[str, Any] = json.load(answer)
    connection.close()
    if (answer.status, problem["code"]) != (413, "too_large"):
        raise KennelError(f"a body of {_TOO_LARGE_BYTES} bytes is answered {problem}")


def _beside_slow_clients(deployment: Deployment) -> float:
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: kennel\r\nContent-Type: image/png\r\n"
        "Content-Length: 100000\r\n\r\n."
    )
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            slow = socket.create_connection(("127.0.0.1", deployment.port), 10)
            stack.enter_context(slow).sendall(head.encode())
        began = time.monotonic()
        stack.enter_context(deployment.client()).predict(deployment.photos[:1])
        return time.monotonic() - began
