"""The API when photos lie in object storage."""

from __future__ import annotations

import dataclasses

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.processes import free_port
from worker.queue import JobQueue

BUCKET = "a-bucket-that-is-nobodys-business"


@pytest.fixture
def remote_client(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> FlaskClient:
    """A client of the API whose object storage is away."""
    pytest.importorskip("s3fs", reason="pip install 'kennel[s3]'")
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    remote = dataclasses.replace(settings, input_url=f"s3://{BUCKET}")
    queue = JobQueue(redis_server.url, remote.runs_dir, remote.inputs)
    return create_app(remote, model_client, queue).test_client()


def test_storage_that_is_away_is_unavailable(remote_client: FlaskClient) -> None:
    response = remote_client.post("/v1/jobs", json={"input": "test"})

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (503, "storage_unavailable")
    assert "Retry-After" in response.headers
    assert BUCKET not in response.text
    assert "127.0.0.1" not in response.text
    assert remote_client.get("/v1/jobs").get_json()["jobs"] == []


def test_page_suggests_nothing_that_it_has_not_seen(remote_client: FlaskClient) -> None:
    page = remote_client.get("/jobs").text

    assert "Below the input folder of this service." in page
    assert "holds no folder yet" not in page
