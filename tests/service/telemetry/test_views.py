"""GET /v1/info: versions, limits and settings, but no addresses or paths."""

from __future__ import annotations

from flask.testing import FlaskClient

from models import VERSION
from service.settings import ServiceSettings


def test_versions_and_limits_are_shown(client: FlaskClient) -> None:
    info = client.get("/v1/info").get_json()

    assert info["kennel"] == VERSION
    assert info["libraries"]["flask"].startswith("3.")
    assert info["limits"]["max_request_bytes"] == 1024 * 1024
    assert info["limits"]["request_timeout_seconds"]["default"] == 10
    assert info["settings"]["web_threads"] == 40


def test_addresses_and_paths_are_not(
    client: FlaskClient, settings: ServiceSettings
) -> None:
    text = client.get("/v1/info").text

    for secret in (settings.redis_url, settings.model_server, str(settings.runs_dir)):
        assert secret not in text
