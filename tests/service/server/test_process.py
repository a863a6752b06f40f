"""The API as a process: gunicorn with two workers, over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.pictures import noise
from tests.processes import free_port, is_listening, running, wait_until
from tests.service.served_model import ServedModel

MAX_RESIDENT_MEGABYTES = 90


class Api:
    """``python -m service.main`` as its users start it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            headers = {"Content-Type": "image/jpeg"} if body else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def workers(self) -> list[int]:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture
def api(served: ServedModel, tmp_path: Path) -> Iterator[Api]:
    port, log = free_port(), tmp_path / "api.log"
    environment = {
        **os.environ,
        "PORT": str(port),
        "MODEL_SERVER": served.target,
        "MODEL_NAMES": "pets",
        "KENNEL_HOME": str(tmp_path),
    }
    with running("service.main", env=environment, log=log) as process:
        wait_until(lambda: is_listening(port), "gunicorn listens")
        yield Api(process, port, log)


def resident_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError(pid)


def test_workers_answer_stay_small_and_stop_cleanly(api: Api) -> None:
    photo = noise(1, size=(500, 375))
    answers = [api.ask("POST", "/v1/predict", photo) for _ in range(60)]

    assert {status for status, _ in answers} == {200}
    assert json.loads(answers[0][1])["model"] == "pets"
    wait_until(lambda: len(api.workers()) == 2, "two workers")
    for pid in api.workers():
        assert "tensorflow" not in Path(f"/proc/{pid}/maps").read_text()
        assert resident_megabytes(pid) < MAX_RESIDENT_MEGABYTES
    assert api.stop() == 0


def test_log_is_one_line_a_request(api: Api) -> None:
    api.ask("GET", "/v1/nothing%0Ahere")
    api.stop()

    lines = api.log.read_text().splitlines()
    assert all(" kennel.access: 127.0.0.1 " in line for line in lines)
    assert " GET /v1/nothing%0Ahere 404 " in lines[-1]


def test_composed_application_never_imports_tensorflow(tmp_path: Path) -> None:
    program = (
        "import sys; from service.app import create; create(); "
        "print(sorted(m for m in sys.modules if m in {'tensorflow', 'keras'}))"
    )

    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MODEL_NAMES": "pets", "KENNEL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert run.stdout.strip() == "[]"
