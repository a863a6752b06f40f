"""Load shedding: under overload, POSTs are refused before Flask sees them."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.wire.client import ModelServerClient
from service.app import create_app
from service.http.concurrency_limit import REFUSED
from service.http.errors import OverloadedError
from service.settings import ServiceSettings
from worker.queue import JobQueue

COUNTED = 'http_requests_total{method="POST",route="/v1/predict",status="503"} 2.0'
UNMATCHED = 'http_requests_refused_total{route="unmatched"} 1.0'


@pytest.fixture
def client(settings: ServiceSettings, model_client: ModelServerClient) -> FlaskClient:
    queue = JobQueue(settings.redis_url, settings.runs_dir, settings.input_root)
    return create_app(settings, model_client, queue).test_client()


def ask(client: FlaskClient, method: str, path: str, **headers: str) -> TestResponse:
    """The answer to a request that the concurrency limit refuses."""
    refused = {REFUSED: OverloadedError("full", 3.2)}
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return client.open(path, method=method, headers=named, environ_overrides=refused)


def test_post_is_refused_as_a_problem(client: FlaskClient) -> None:
    refused = ask(client, "POST", "/v1/predict?top=1", X_Request_ID="mine-1")

    assert (refused.status_code, refused.get_json()["code"]) == (503, "overloaded")
    assert refused.mimetype == "application/problem+json"
    assert refused.headers["Retry-After"] == "4"
    assert (
        refused.headers["X-Request-ID"] == refused.get_json()["request_id"] == "mine-1"
    )
    assert "traceparent" not in refused.headers


def test_refusals_are_counted_by_route(client: FlaskClient) -> None:
    for path in ("/v1/predict", "/v1/predict", "/v1/elsewhere"):
        ask(client, "POST", path, X_Request_ID="a b")

    exposed = client.get("/metrics").text
    assert COUNTED in exposed
    assert UNMATCHED in exposed


def test_others_are_refused_by_the_application(client: FlaskClient) -> None:
    refused = ask(client, "GET", "/v1/models")

    assert (refused.status_code, refused.get_json()["code"]) == (503, "overloaded")
    assert "traceparent" in refused.headers


def test_refusals_of_a_second_are_one_line(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        ask(client, "POST", "/v1/predict")

    assert [record.message for record in caplog.records] == [
        "overloaded: 1 requests refused since the last such line"
    ]
