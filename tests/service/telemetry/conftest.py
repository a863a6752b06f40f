"""``app`` and ``client`` with telemetry switched on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from models.wire.client import ModelServerClient
from service.settings import ServiceSettings
from service.telemetry.hooks import Telemetry
from tests.service.conftest import app_of


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
    return app_of(settings, model_client, telemetry=telemetry)
