"""Several real model servers behind a real API: shared, killed, swapped, restarted."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.settings import ServiceSettings
from tests.fake_model_server import CARD
from tests.models.conftest import wait_for_version
from tests.pictures import grey, noise
from tests.processes import free_port, is_listening, running, wait_until
from tests.service.api_process import ApiProcess, Load
from tests.service.conftest import app_of, post_image
from tests.service.served_model import ServedModel
from tests.tiny_model import publish_tiny_model

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
        yield app_of(settings, model_client).test_client()


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
    module = ("tests.service.served_model", str(port))
    process = stack.enter_context(running(*module, env=os.environ, log=log))
    wait_until(lambda: is_listening(port), "the model server listens")
    return Replica(f"127.0.0.1:{port}", process)


def predict_often(
    server: ApiProcess, times: int, answered: Callable[[], object] = lambda: None
) -> Counter[int]:
    photo = noise(1, size=(100, 75))

    def predict(_: int) -> int:
        status, _text = server.ask("POST", "/v1/predict", photo)
        answered()
        return status

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(predict, range(times)))


def test_model_servers_share_the_work(two: list[ServedModel], tmp_path: Path) -> None:
    server = ApiProcess(tmp_path, _both(each.target for each in two))
    with server.running():
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

    server = ApiProcess(tmp_path, _both(each.target for each in replicas))
    with server.running():
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


REQUESTS = 600
SIZES = {2: (48, 64), 3: (64, 40)}
BATCHES = """
max_batch_size { value: 32 }
batch_timeout_micros { value: 30000 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 1000 }
"""
"""Batches wait for company: requests that share one are the rule."""


def model_server(
    models_dir: Path, port: int, *flags: str
) -> AbstractContextManager[Any]:
    return running(
        *("kennel.cli", "model-server", f"--port={port}", "--model_name=pets"),
        f"--model_base_path={models_dir / 'pets'}",
        *flags,
        "--enable_batching",
        "--file_system_poll_wait_seconds=0.2",
        "--strict",
        env=os.environ,
        log=models_dir / "server.log",
    )


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
def test_new_version_takes_over_without_a_failed_request(tmp_path: Path) -> None:
    publish_tiny_model(tmp_path, 1)
    port = free_port()
    api = ApiProcess(tmp_path, f"127.0.0.1:{port}")
    with model_server(tmp_path, port):
        wait_for_version(api.model_server, "pets", 1)
        with api.running(), Load([api], grey(9), clients=4) as load:
            load.wait_for(REQUESTS // 4)
            publish_tiny_model(tmp_path, 2)
            wait_until(lambda: load.versions[2] > 0, "an answer by version 2", 60)
            load.wait_for(max(REQUESTS // 4, REQUESTS - load.statuses.total()))

    assert load.failed == {}
    assert load.statuses[200] >= REQUESTS
    assert min(load.versions[1], load.versions[2]) > 0


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
def test_new_image_sizes_take_over_without_a_failed_request(tmp_path: Path) -> None:
    """Two API processes learn them at different times, and share batches meanwhile."""
    models_dir, ready = tmp_path / "models", tmp_path / "ready"
    publish_tiny_model(models_dir, 1)
    for version, size in SIZES.items():
        publish_tiny_model(ready, version, replace(CARD, image_size=size))
    (tmp_path / "batching").write_text(BATCHES)
    batching = f"--batching_parameters_file={tmp_path / 'batching'}"
    port = free_port()
    apis = [ApiProcess(tmp_path, f"127.0.0.1:{port}") for _ in range(2)]
    with model_server(models_dir, port, batching), ExitStack() as stack:
        wait_for_version(apis[0].model_server, "pets", 1)
        for api in apis:
            stack.enter_context(api.running())
        load = stack.enter_context(Load(apis, grey(9), clients=8))
        load.wait_for(50)
        for version in SIZES:
            name = f"pets/{version}"
            (ready / name).rename(models_dir / name)
            load.wait_for(50, partial(load.versions.__getitem__, version))

    assert load.failed == {}
    assert min(load.versions[version] for version in (1, *SIZES)) >= 50


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
def test_restart_of_the_model_server_is_unavailable(tmp_path: Path) -> None:
    """503 with Retry-After while it is away, and predictions again when it is back."""
    publish_tiny_model(tmp_path, 1)
    port = free_port()
    api = ApiProcess(tmp_path, f"127.0.0.1:{port}")
    with ExitStack() as stack:
        with model_server(tmp_path, port):
            wait_for_version(api.model_server, "pets", 1)
            stack.enter_context(api.running())
            load = stack.enter_context(Load([api], grey(9), clients=4))
            load.wait_for(50)
        before = dict(load.failed)
        wait_until(lambda: not load.has_ready(), "the balancer's notice", 60)
        with model_server(tmp_path, port):
            wait_until(load.has_ready, "readiness", 90)
            # The other process may wait a second before it connects again.
            wait_until(lambda: load.unbroken >= 200, "200 predictions in a row", 60)

    assert before.keys() <= {503}
    assert set(load.failed) <= {503}
    assert all(load.retry_after)
