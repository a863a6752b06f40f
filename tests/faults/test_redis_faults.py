"""F6 to F9: Redis dies, stays away, forgets everything or lost the end of its file."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.faults.ordeal import Ordeal
from tests.pictures import grey
from tests.worker.world import World

TORN_BYTES = 37


@pytest.fixture
def api(world: World) -> Iterator[FlaskClient]:
    settings = ServiceSettings(
        model_server=world.model_server.target,
        model_names=("pets",),
        redis_url=world.redis.url,
        runs_dir=world.runs_dir,
        input_root=world.input_root,
    )
    with ModelServerClient(settings.model_server) as client:
        yield create_app(settings, client, world.queue).test_client()


def stay_away(seconds: float) -> None:
    threading.Event().wait(seconds)


def appended_file(folder: Path) -> Path:
    """The file that Redis appends to; since version 7 it lies in a folder."""
    return max(folder.rglob("*.aof"), key=lambda path: path.stat().st_size)


def test_f6_redis_is_killed_and_comes_back(ordeal: Ordeal) -> None:
    """Half a second later, with its file: nothing was lost."""
    ordeal.begin(workers=2)
    ordeal.world.redis.kill()
    stay_away(0.5)
    ordeal.world.redis.start()

    ordeal.check_success()


def test_f7_redis_is_away_while_workers_are_busy(
    ordeal: Ordeal, api: FlaskClient
) -> None:
    """For ten seconds: submit says so, predict does not care, the job goes on."""
    ordeal.begin(workers=2)
    ordeal.world.redis.kill()
    jobs = len(ordeal.world.queue.jobs())
    submitted = api.post("/v1/jobs", json={"input": "test"})
    predicted = api.post("/v1/predict", data=grey(200), content_type="image/png")
    download = api.get(f"/v1/jobs/{ordeal.job.id}/submission.csv")
    stay_away(10)
    ordeal.world.redis.start()

    assert (submitted.status_code, predicted.status_code) == (503, 200)
    assert submitted.get_json()["code"] == "queue_unavailable"
    assert download.status_code == 409
    assert len(ordeal.world.queue.jobs()) == jobs
    ordeal.check_success()


def test_f8_redis_loses_everything(ordeal: Ordeal) -> None:
    """The run directory says what is left; what was finished is not done again."""
    ordeal.begin()
    ordeal.world.redis.kill()
    done = ordeal.artefacts()
    for path in ordeal.world.redis.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    ordeal.world.redis.start()

    ordeal.check_success()

    assert done.items() <= ordeal.artefacts().items()


def test_f9_end_of_redis_file_is_torn_off(ordeal: Ordeal) -> None:
    """As a power cut leaves it: Redis starts without its last words."""
    ordeal.begin()
    ordeal.world.redis.kill()
    path = appended_file(ordeal.world.redis.folder)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - TORN_BYTES)
    ordeal.world.redis.start()

    ordeal.check_success()
