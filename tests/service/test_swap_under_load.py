"""A real model server behind a real API, under load: swapped, then restarted."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fake_model_server import CARD
from tests.models.conftest import wait_for_version
from tests.pictures import grey
from tests.processes import free_port, running, wait_until
from tests.service.api_process import ApiProcess, Load
from tests.tiny_model import publish_tiny_model

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(240)]

REQUESTS = 2000
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


def test_restart_of_the_model_server_is_told_as_not_now(tmp_path: Path) -> None:
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
