"""Starts a peer in `.venv-peers`, alone on a free port, and ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.load import Target
from kennel.stack.supervisor import choose_port

BIN = Path(".venv-peers/bin").absolute()
_START_SECONDS = 90.0


@dataclass(frozen=True)
class Peer:
    """A server and the command that starts it: port, processes -> arguments."""

    name: str
    command: Callable[[int, int], tuple[str, ...]]


PEERS = (
    Peer(
        "Flask, gunicorn gthread",
        lambda port, workers: (
            *("python", "-m", "gunicorn", "--no-control-socket"),
            *("--worker-class=gthread", f"--workers={workers}", "--threads=8"),
            *(f"--bind=127.0.0.1:{port}", "benchmarks.peers.flask_app:create()"),
        ),
    ),
    Peer(
        "LitServe 0.2.19",
        lambda port, workers: (
            *("python", "-m", "benchmarks.peers.litserve_app"),
            *(str(port), str(workers)),
        ),
    ),
    Peer(
        "BentoML 1.4.39",
        lambda port, _: (
            *("bentoml", "serve", "benchmarks.peers.bentoml_app:Predictor"),
            *("--host=127.0.0.1", f"--port={port}"),
        ),
    ),
)


@contextmanager
def running_peer(
    peer: Peer, workers: int, model: Path | None
) -> Iterator[tuple[list[int], Target]]:
    """*peer* in *workers* processes on a SavedModel or the mean: its pid and target."""
    port = choose_port(0, "127.0.0.1", "port")
    program, *arguments = peer.command(port, workers)
    environment = {
        **os.environ,
        "PEER_WORKERS": str(workers),
        "PEER_MODEL": str(model or ""),
        "BENTOML_DO_NOT_TRACK": "true",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    process = subprocess.Popen(
        [str(BIN / program), *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A group of its own: some leave processes behind when only one is ended.
        start_new_session=True,
    )
    try:
        _wait_until_open(process, f"http://127.0.0.1:{port}/")
        target = Target(f"http://127.0.0.1:{port}/predict", form=True)
        target.clients(2, 2)
        yield [process.pid], target
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_open(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            return  # it answers, if only that nothing is there
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise SystemExit(f"{process.args!r} does not answer: try it by hand")
