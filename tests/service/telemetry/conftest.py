"""``app`` and ``client`` with telemetry switched on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from service.telemetry.hooks import Telemetry
from worker.queue import JobQueue


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def model_client(
    settings: ServiceSettings, telemetry: Telemetry
) -> Iterator[ModelServerClient]:
    with ModelServerClient(settings.model_server, observer=telemetry) as client:
        yield client


@pytest.fixture
def app(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    telemetry: Telemetry,
) -> Flask:
    """The observed API while Redis is away."""
    queue = JobQueue(settings.redis_url, settings.runs_dir, settings.input_root)
    return create_app(settings, model_client, queue, telemetry)
