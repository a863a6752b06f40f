"""Metrics of several gunicorn workers: sums that survive the end of a worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pictures import grey
from tests.processes import free_port, is_listening, running, wait_until
from tests.service.served_model import ServedModel
from tests.service.server.test_process import Api
from tests.service.telemetry.scrape import Scrape


@contextmanager
def serving(
    served: ServedModel, folder: Path, log: Path, workers: int = 1
) -> Iterator[Api]:
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "MODEL_SERVER": served.target,
        "MODEL_NAMES": "pets",
        "KENNEL_HOME": str(folder),
        "WEB_WORKERS": str(workers),
        "WEB_THREADS": "60",
        "LOG_FORMAT": "json",
    }
    with running("service.main", env=environment, log=log) as process:
        wait_until(lambda: is_listening(port), "gunicorn listens")
        yield Api(process, port, log)


def scrape(api: Api) -> Scrape:
    status, text = api.ask("GET", "/metrics")
    assert status == 200
    return Scrape(text)


def ask_at_once(api: Api, count: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda _: api.ask("POST", "/v1/predict", grey(9)), range(count)
        )
        assert {status for status, _ in answers} == {200}


def predictions(api: Api) -> float:
    return scrape(api).value("inference_requests_total", outcome="ok")


def metrics_folder(api: Api) -> Path:
    environment = Path(f"/proc/{api.process.pid}/environ").read_bytes().split(b"\0")
    (found,) = [each for each in environment if each.startswith(b"PROMETHEUS_MULTI")]
    return Path(os.fsdecode(found.partition(b"=")[2]))


def gauge_pids(api: Api) -> set[int]:
    files = metrics_folder(api).glob("gauge_live*.db")
    return {int(file.stem.rpartition("_")[2]) for file in files}


@pytest.fixture
def api(served: ServedModel, tmp_path: Path) -> Iterator[Api]:
    with serving(served, tmp_path, tmp_path / "api.log", workers=2) as running_api:
        yield running_api


def test_counters_add_up_over_workers_and_their_deaths(api: Api) -> None:
    ask_at_once(api, 40)
    wait_until(lambda: len(gauge_pids(api)) == 2, "both workers count")
    assert {predictions(api) for _ in range(6)} == {40}
    assert scrape(api).value("inference_scores_total", model="pets") == 40

    killed = api.workers()[0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in gauge_pids(api), "the dead worker's gauges go")
    wait_until(lambda: len(api.workers()) == 2, "another worker comes")

    assert predictions(api) == 40
    ask_at_once(api, 5)
    seen = scrape(api)
    assert seen.value("inference_requests_total") == 45
    assert seen.value("http_requests_in_progress") == 1
    assert 50e6 < seen.value("process_resident_memory_bytes") < 500e6

    api.stop()
    lines = [json.loads(line) for line in api.log.read_text().splitlines()]
    assert {line["logger"] for line in lines} == {"kennel.access", "gunicorn.error"}


def test_service_starts_at_zero_and_leaves_nothing(
    served: ServedModel, tmp_path: Path
) -> None:
    with serving(served, tmp_path, tmp_path / "first.log") as api:
        ask_at_once(api, 3)
        killed, workers = metrics_folder(api), api.workers()
        for pid in (api.process.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        api.process.wait()
    wait_until(lambda: not any(map(_is_alive, workers)), "the workers end")
    assert killed.exists()

    with serving(served, tmp_path, tmp_path / "second.log") as api:
        folder = metrics_folder(api)
        assert predictions(api) == 0
        assert not killed.exists()
        assert folder.exists()
        assert api.stop() == 0
    assert not folder.exists()


def _is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
