"""The API behind real HTTP: as a process, on a thread, and several behind a balancer."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.processes import free_port, running, wait_until

PROBE_SECONDS = 0.1
PAUSE_SECONDS = 0.01
"""Between two requests of a client of `Load`: processes that start need a core too."""


class ApiProcess:
    """One API on a port of its own; it can be told to end and be started again."""

    def __init__(self, folder: Path, model_server: str, **env: str) -> None:
        self.port = free_port()
        self.model_server = model_server
        self.log = folder / f"api-{self.port}.log"
        self.env = {
            **os.environ,
            "PORT": str(self.port),
            "MODEL_SERVER": model_server,
            "MODEL_NAMES": "pets",
            "KENNEL_HOME": str(folder),
            **env,
        }
        self.process: subprocess.Popen[bytes]

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with running("service.main", env=self.env, log=self.log) as self.process:
            wait_until(self.is_ready, "readiness", 60)
            yield self.process

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection):
            headers = {"Content-Type": "image/jpeg"} if body else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def is_ready(self) -> bool:
        return self.probe() == 200

    def probe(self) -> int | None:
        """The status of /readyz; None: nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        return None

    def workers(self) -> set[int]:
        """Process ids of gunicorn's workers."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return {int(child) for child in children.split()}

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


class Load:
    """Clients that send one photo after the other to the ports that are ready.

    As a balancer does, they learn of readiness by probing; connections stay open until
    the API closes them or is not ready.

    Attributes:
        statuses: how many answers had which status; None: there was no answer.
        retry_after: those that came with a 503.
        versions: how many predictions are of which version.
        unbroken: how many predictions there were since the last failure.
    """

    def __init__(self, apis: Sequence[ApiProcess], photo: bytes, clients: int) -> None:
        self.statuses: Counter[int | None] = Counter()
        self.retry_after: list[str | None] = []
        self.versions: Counter[int] = Counter()
        self.unbroken = 0
        self._apis = apis
        self._photo = photo
        self._ready = list(apis)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._probe)]
        self._threads += [threading.Thread(target=self._send) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int, what: Callable[[], int] | None = None) -> None:
        """Return when so many more requests (or *what*) have been counted."""
        seen = what or self.statuses.total
        goal = seen() + count
        wait_until(lambda: seen() >= goal, f"{count} requests", 120)

    def has_ready(self) -> bool:
        """Whether any API was ready when it was asked last."""
        return bool(self._ready)

    @property
    def failed(self) -> dict[int | None, int]:
        return {each: n for each, n in self.statuses.items() if each != 200}

    def _probe(self) -> None:
        while not self._stopping.wait(PROBE_SECONDS):
            self._ready = [each for each in self._apis if each.is_ready()]

    def _send(self) -> None:
        connections: dict[int, http.client.HTTPConnection] = {}
        number = 0
        while not self._stopping.is_set():
            ports = [each.port for each in self._ready]
            for port in connections.keys() - set(ports):
                connections.pop(port).close()
            if not ports:
                self._stopping.wait(PROBE_SECONDS)
                continue
            number += 1
            port = ports[number % len(ports)]
            if port not in connections:
                fresh = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connections[port] = fresh
            if not self._ask(connections[port]):
                connections.pop(port).close()
            self._stopping.wait(PAUSE_SECONDS)
        for connection in connections.values():
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        """Whether the connection stays open."""
        try:
            headers = {"Content-Type": "image/png"}
            connection.request("POST", "/v1/predict", self._photo, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self.statuses[None] += 1
            self.unbroken = 0
            return False
        self.statuses[response.status] += 1
        self.unbroken = self.unbroken + 1 if response.status == 200 else 0
        if response.status == 200:
            self.versions[json.loads(body)["version"]] += 1
        else:
            self.retry_after.append(response.getheader("Retry-After"))
        return not response.will_close


class _KeepAlive(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """The address of *app*, which answers until the block ends."""
    server = make_server("127.0.0.1", 0, app, True, request_handler=_KeepAlive)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
