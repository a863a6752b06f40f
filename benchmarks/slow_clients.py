"""Slow clients: 150 at a time that send half a request, or do not take an answer.

`python -m benchmarks.slow_clients [--proxy]`: while they are connected, /livez is asked
over connections of its own and ordinary photos come at a fixed rate.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from urllib.parse import urlsplit

import click

from benchmarks.harness.background import repeating
from benchmarks.harness.load import Target, percentile
from benchmarks.harness.stack import running_proxy, trivial_stack

CLIENTS = 150
RATE = 10.0
"""Ordinary photos a second."""

_HOST = b"HTTP/1.1\r\nHost: localhost\r\n"
_HEAD = b"POST /v1/predict " + _HOST + b"Content-Type: image/jpeg\r\n"
KINDS: dict[str, bytes | None] = {
    "none": None,
    "connected, silent": b"",
    "half a head": _HEAD,
    "half a body": _HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(50_000),
    "answer of 1.7 MB not read": b"GET /docs/swagger-ui-bundle.js " + _HOST + b"\r\n",
    "answer not hung up": b"GET /livez " + _HOST + b"Connection: close\r\n\r\n",
}
"""What each client sends before it falls silent."""


@click.command()
@click.option("--seconds", default=15.0, show_default=True)
@click.option("--proxy", is_flag=True, help="Behind the compose file's nginx.")
def main(seconds: float, proxy: bool) -> None:
    """Print how long probes and photos take beside each kind of slow clients."""
    with ExitStack() as opened:
        stack, target = opened.enter_context(trivial_stack())
        url = stack.url
        if proxy:
            url = opened.enter_context(running_proxy(stack, 2 * CLIENTS))
            target = Target(target.url.replace(stack.url, url))
        for name, sent in KINDS.items():
            with _slow_clients(url, sent), _probed(url) as probes:
                photos = target.rate(RATE, seconds)
            click.echo(
                f"{name}: /livez {dict(Counter(status for status, _ in probes))}, p50 "
                f"{1000 * percentile([taken for _, taken in probes], 50):.0f} ms, slowest "
                f"{1000 * max(taken for _, taken in probes):.0f} ms; photos "
                f"{photos.statuses}, p50 {photos.milliseconds(50):.0f} ms, p99 "
                f"{photos.milliseconds(99):.0f} ms"
            )


@contextmanager
def _slow_clients(url: str, sent: bytes | None) -> Iterator[None]:
    parts = urlsplit(url)
    address = (str(parts.hostname), parts.port or 80)
    with ExitStack() as opened:
        for _ in range(CLIENTS if sent is not None else 0):
            client = opened.enter_context(closing(socket.socket()))
            # Small, or the kernel takes in a whole answer that nobody reads.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(20)
            client.connect(address)
            client.setblocking(False)
            with suppress(OSError):
                client.send(sent or b"")
        yield


@contextmanager
def _probed(url: str) -> Iterator[list[tuple[int, float]]]:
    """Status (0: none) and seconds of each probe of /livez, ten a second at most."""
    seen: list[tuple[int, float]] = []

    def probe() -> None:
        began = time.perf_counter()
        status = _status(urlsplit(url).netloc)
        seen.append((status, time.perf_counter() - began))

    with repeating(probe, 0.1):
        yield seen


def _status(netloc: str) -> int:
    connection = http.client.HTTPConnection(netloc, timeout=60)
    with closing(connection):
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


if __name__ == "__main__":
    main()
