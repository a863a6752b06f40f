"""A real HTTP server that follows a test's script: refuses, hangs, closes."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Step = Callable[["_Handler"], None]


@dataclass
class ScriptedApi:
    """Takes one step of *steps* for each request; the last step again and again."""

    steps: list[Step]
    seen: list[Seen] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    api: ScriptedApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        count = int(self.headers.get("Content-Length", 0))
        headers = dict(self.headers.items())
        seen = Seen(self.command, self.path, headers, self.rfile.read(count))
        number = min(len(self.api.seen), len(self.api.steps) - 1)
        self.api.seen.append(seen)
        self.api.steps[number](self)

    do_POST = do_GET  # noqa: N815
    do_PUT = do_GET  # noqa: N815
    do_DELETE = do_GET  # noqa: N815

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests look at what was seen instead."""


def says(content: Any, status: int = 200, **headers: str) -> Step:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(status, body, given)


def sent_names(seen: Seen) -> list[str]:
    """The file names of the photos in a request."""
    return [name.decode() for name in re.findall(rb'filename="([^"]*)"', seen.body)]


def answers_photos(
    trouble: Callable[[list[str]], Step | None] = lambda _: None,
) -> Step:
    """What POST /v1/predict does: each photo is a dog, unless *trouble* has a step."""

    def step(handler: _Handler) -> None:
        names = sent_names(handler.api.seen[-1])
        row = {"cat": 0.25, "dog": 0.75}
        entries = [
            {"name": name, "label": "dog", "probabilities": row, "raw": row}
            for name in names
        ]
        answer = {"model": "pets", "version": 3, "labels": list(row)}
        (trouble(names) or says({**answer, "predictions": entries}))(handler)

    return step


def refuses(status: int, code: str = "some_code", **headers: str) -> Step:
    problem = {"detail": "it is so", "code": code, "request_id": "r-1"}
    return says(problem, status, **headers)


def breaks_off(handler: _Handler) -> None:
    """As a killed process does: a reset instead of an answer."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True


def hangs(handler: _Handler) -> None:
    handler.api.over.wait(20)
    handler.close_connection = True


def trickles(handler: _Handler) -> None:
    """An answer that never ends, a byte at a time."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    while not handler.api.over.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


@contextmanager
def scripted(*steps: Step) -> Iterator[ScriptedApi]:
    api = ScriptedApi(list(steps))
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.block_on_close = False
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}
    )
    thread.start()
    try:
        yield api
    finally:
        api.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
