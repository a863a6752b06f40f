"""Several model servers behind the real API: who gets how much, and one that is killed."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.pictures import grey, noise
from tests.processes import free_port, is_listening, running, wait_until
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel
from tests.service.test_process import Api
from worker.queue import JobQueue

CLIENTS = 8


@pytest.fixture
def two() -> Iterator[list[ServedModel]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ServedModel()) for _ in range(2)]


@pytest.fixture
def client_of_two(
    two: list[ServedModel], settings: ServiceSettings
) -> Iterator[FlaskClient]:
    with ModelServerClient(_both(each.target for each in two)) as model_client:
        queue = JobQueue(settings.redis_url, settings.runs_dir, settings.input_root)
        yield create_app(settings, model_client, queue).test_client()


class Replica(NamedTuple):
    target: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Replica]]:
    """Two model servers in processes of their own."""
    with ExitStack() as stack:
        yield [_replica(stack, tmp_path) for _ in range(2)]


def _replica(stack: ExitStack, folder: Path) -> Replica:
    port = free_port()
    log = folder / f"replica-{port}.log"
    module = ("tests.service.replica", str(port))
    process = stack.enter_context(running(*module, env=os.environ, log=log))
    wait_until(lambda: is_listening(port), "the model server listens")
    return Replica(f"127.0.0.1:{port}", process)


@contextmanager
def api(model_server: str, folder: Path) -> Iterator[Api]:
    port, log = free_port(), folder / "api.log"
    environment = {
        **os.environ,
        "PORT": str(port),
        "MODEL_SERVER": model_server,
        "MODEL_NAMES": "pets",
        "KENNEL_HOME": str(folder),
    }
    with running("service.main", env=environment, log=log) as process:
        wait_until(lambda: is_listening(port), "gunicorn listens")
        server = Api(process, port, log)
        wait_until(lambda: server.ask("GET", "/readyz")[0] == 200, "the API is ready")
        yield server


def predict_often(
    server: Api, times: int, answered: Callable[[], object] = lambda: None
) -> Counter[int]:
    photo = noise(1, size=(100, 75))

    def predict(_: int) -> int:
        status, _text = server.ask("POST", "/v1/predict", photo)
        answered()
        return status

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(predict, range(times)))


def test_model_servers_share_the_work(two: list[ServedModel], tmp_path: Path) -> None:
    with api(_both(each.target for each in two), tmp_path) as server:
        statuses = predict_often(server, 400)

    calls = [len(each.batches) for each in two]
    images = [sum(each.batches) for each in two]
    assert statuses == {200: 400}
    assert min(calls) >= 0.45 * sum(calls)
    # Calls take turns, and hold what had gathered: of 400 images their numbers vary so.
    assert sum(images) == 400
    assert min(images) >= 0.35 * 400


def test_no_prediction_fails_when_a_model_server_is_killed(
    replicas: list[Replica], tmp_path: Path
) -> None:
    answered = count(1)

    def kill_one_in_the_middle() -> None:
        if next(answered) == 200:
            replicas[0].process.kill()

    with api(_both(each.target for each in replicas), tmp_path) as server:
        statuses = predict_often(server, 400, kill_one_in_the_middle)

    assert statuses == {200: 400}
    assert replicas[0].process.poll() is not None


def test_version_that_one_of_them_does_not_have_yet_is_no_error(
    two: list[ServedModel], client_of_two: FlaskClient
) -> None:
    post_image(client_of_two, grey(9))
    two[1].versions = (1, 2)

    answers = [post_image(client_of_two, grey(9)) for _ in range(20)]
    pinned = post_image(client_of_two, grey(9), "?version=2")

    assert {each.status_code for each in answers} == {200}
    assert {each.get_json()["version"] for each in answers} == {1, 2}
    assert pinned.get_json()["version"] == 2


def test_version_that_none_has_is_not_found(client_of_two: FlaskClient) -> None:
    response = post_image(client_of_two, grey(9), "?version=7")

    assert (response.status_code, response.get_json()["code"]) == (
        404,
        "version_not_found",
    )


def _both(targets: Iterator[str]) -> str:
    return ",".join(targets)
