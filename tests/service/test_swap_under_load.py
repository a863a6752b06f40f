"""A real model server behind a real API, under load: swapped, then restarted."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.models.conftest import wait_for_version
from tests.pictures import grey
from tests.processes import free_port, running, wait_until
from tests.service.api_process import ApiProcess, Load
from tests.tiny_model import publish_tiny_model

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(240)]

REQUESTS = 2000


def model_server(models_dir: Path, port: int) -> AbstractContextManager[Any]:
    return running(
        *("kennel.cli", "model-server", f"--port={port}", "--model_name=pets"),
        f"--model_base_path={models_dir / 'pets'}",
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
