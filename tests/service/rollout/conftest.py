"""An API whose model server has two versions loaded, the newer one as a canary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.service.rollout.decided import decide
from tests.service.served_model import ServedModel
from worker.queue import JobQueue

Deciding: TypeAlias = Callable[..., FlaskClient]
"""Takes changes of the rollout; gives a client of an API that knows it."""


@pytest.fixture
def served() -> Iterator[ServedModel]:
    with ServedModel((1, 2)) as server:
        yield server


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def decided(
    settings: ServiceSettings, model_client: ModelServerClient, models_dir: Path
) -> Deciding:
    """An API while Redis is away."""

    def make(**changes: Any) -> FlaskClient:
        decide(models_dir, **changes)
        return _client(settings, model_client, models_dir, settings.redis_url)

    return make


@pytest.fixture
def counted(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    models_dir: Path,
    redis_server: RedisServer,
) -> Deciding:
    """An API whose counts can be read."""

    def make(**changes: Any) -> FlaskClient:
        decide(models_dir, **changes)
        return _client(settings, model_client, models_dir, redis_server.url)

    return make


def _client(
    settings: ServiceSettings, client: ModelServerClient, models_dir: Path, redis: str
) -> FlaskClient:
    settings = replace(settings, models_dir=models_dir)
    queue = JobQueue(redis, settings.runs_dir, settings.input_root)
    return create_app(settings, client, queue).test_client()
