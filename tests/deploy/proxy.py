"""The proxy as its container starts it, in front of replicas that a file lists."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.processes import free_port, is_listening, wait_until

START = Path(__file__).parents[2] / "deploy/nginx/start.sh"
SEARCHED = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"


class Replica(BaseHTTPRequestHandler):
    """Says what reached it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        taken = len(self.rfile.read(length))
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        seen = {"headers": dict(self.headers), "bytes": taken, "path": self.path}
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Nothing: nginx writes the log."""


class BusyReplica(Replica):
    """Answers when it may go on."""

    came = threading.Event()
    go_on = threading.Event()

    def do_GET(self) -> None:
        self.came.set()
        self.go_on.wait(20)
        super().do_GET()

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for


class BreakingReplica(Replica):
    """Takes a request in and dies of it."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.close_connection = True

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for


@contextmanager
def replica(
    address: str, port: int, kind: type[BaseHTTPRequestHandler] = Replica
) -> Iterator[list[str]]:
    """A replica of the API at *address*; gives the paths that it was asked for."""
    server = ThreadingHTTPServer((address, port), kind)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Proxy:
    """nginx on *port*, in front of replicas on *api_port* of their addresses."""

    folder: Path
    spool: Path
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)

    @property
    def log(self) -> Path:
        return self.folder / "proxy.log"

    def list_replicas(self, *addresses: str) -> None:
        """What looking up the API's name answers from now on."""
        (self.folder / "addresses").write_text("".join(f"{a} a\n" for a in addresses))

    def environment(self, changes: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": SEARCHED,
            "RUN": str(self.folder / "run"),
            "SPOOL": str(self.spool),
            "LOOK_UP": "grep -h .",
            "REPLICAS_NAME": str(self.folder / "addresses"),
            "REPLICAS_PORT": str(self.api_port),
            "PROXY_LISTEN": f"127.0.0.1:{self.port}",
            "PROXY_LISTEN_TLS": f"127.0.0.1:{self.tls_port}",
            "TLS_PORT": str(self.tls_port),
            "PROXY_WORKERS": "1",
            **changes,
        }

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[http.client.HTTPResponse, Any]:
        """The answer and what its JSON says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, body or None, named)
            answer = connection.getresponse()
            return answer, json.loads(answer.read() or b"null")

    def ask_raw(self, request: bytes) -> bytes:
        """All bytes that come back for *request*."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            client.sendall(request)
            return b"".join(iter(lambda: client.recv(65536), b""))


@contextmanager
def running_proxy(folder: Path, *addresses: str, **env: str) -> Iterator[Proxy]:
    """The proxy until the block ends, in front of replicas at *addresses*."""
    require_nginx()
    with ExitStack() as stack:
        spool = Path(stack.enter_context(TemporaryDirectory()))
        # Started by root, nginx works as somebody else.
        spool.chmod(0o777)
        proxy = Proxy(folder, spool)
        proxy.list_replicas(*addresses)
        log = stack.enter_context(proxy.log.open("wb"))
        process = subprocess.Popen(
            ["sh", str(START)],
            env=proxy.environment(env),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        wait_until(lambda: is_listening(proxy.port), "nginx listens")
        yield proxy


def require_nginx() -> None:
    """Skip without nginx and envsubst; on the CI machine both have to be there."""
    if shutil.which("nginx", path=SEARCHED) and shutil.which("envsubst"):
        return
    if os.environ.get("CI") == "true":
        pytest.fail("no nginx or no envsubst")
    pytest.skip("needs nginx and envsubst (Debian: nginx-light, gettext-base)")
