"""An API whose model server has two versions loaded, the newer one as a canary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.service.conftest import app_of
from tests.service.rollout.rollouts_file import write_rollout
from tests.service.served_model import ServedModel

StartApi: TypeAlias = Callable[..., FlaskClient]
"""Takes changes of the rollout; gives a client of an API that reads it."""


@pytest.fixture
def served() -> Iterator[ServedModel]:
    with ServedModel((1, 2)) as server:
        yield server


@pytest.fixture
def start_api(settings: ServiceSettings, model_client: ModelServerClient) -> StartApi:
    """An API while Redis is away."""

    def start(**changes: Any) -> FlaskClient:
        write_rollout(settings.models_dir, **changes)
        return app_of(settings, model_client).test_client()

    return start


@pytest.fixture
def start_counting_api(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    redis_server: RedisServer,
) -> StartApi:
    """An API whose counts can be read from Redis."""

    def start(**changes: Any) -> FlaskClient:
        write_rollout(settings.models_dir, **changes)
        return app_of(settings, model_client, redis_server.url).test_client()

    return start
