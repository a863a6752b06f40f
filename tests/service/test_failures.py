"""What clients see when the model server or the clock fails."""

from __future__ import annotations

import logging

import grpc
import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.errors import ModelTimeoutError
from models.wire.client import MAX_ATTEMPTS, ModelServerClient
from service.app import create_app
from service.budget import Budget
from service.predictions.decoding import Decoder
from service.settings import ServiceSettings
from tests.fake_model_server import QUEUE_FULL
from tests.pictures import grey
from tests.processes import wait_until
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel
from worker.queue import JobQueue

Code = grpc.StatusCode

FAILURES = {
    Code.UNAVAILABLE: (503, "model_not_ready"),
    Code.CANCELLED: (503, "model_not_ready"),
    Code.RESOURCE_EXHAUSTED: (503, "overloaded"),
    Code.DEADLINE_EXCEEDED: (504, "deadline_exceeded"),
    # Our name for the model is known, so the server is only not ready to say so.
    Code.NOT_FOUND: (503, "model_not_ready"),
}


@pytest.mark.parametrize(
    "failure",
    [code for code in Code if code is not Code.OK],
    ids=lambda code: code.name,
)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_every_failure_has_its_status(
    client: FlaskClient, served: ServedModel, failure: grpc.StatusCode, warm: bool
) -> None:
    if warm:
        post_image(client, grey(9))
    served.failure = failure

    response = post_image(client, grey(9))

    status, code = FAILURES.get(failure, (502, "bad_upstream_reply"))
    assert (response.status_code, response.get_json()["code"]) == (status, code)
    assert ("Retry-After" in response.headers) == (status in {503, 504})


def test_full_batching_queue_of_the_model_server_is_overload(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.refusals.extend([(Code.UNAVAILABLE, QUEUE_FULL)] * MAX_ATTEMPTS)

    response = post_image(client, grey(9))

    assert (response.status_code, response.get_json()["code"]) == (503, "overloaded")
    assert "Retry-After" in response.headers
    assert "cannot be reached" not in response.text


def test_dead_model_server_is_unavailable_until_it_is_back(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.stop()

    response = post_image(client, grey(9))
    probe = client.get("/readyz")

    assert response.status_code == 503
    assert probe.status_code == 503
    assert probe.get_json()["parts"]["model_server"]["code"] == "model_not_ready"

    served.start()
    wait_until(lambda: client.get("/readyz").status_code == 200, "the API is ready")
    assert post_image(client, grey(9)).status_code == 200


def test_spent_budget_is_a_timeout(client: FlaskClient, served: ServedModel) -> None:
    post_image(client, grey(9))
    served.delay_seconds = 0.5

    response = post_image(client, grey(9), headers={"X-Request-Timeout-Ms": "1"})

    assert response.status_code == 504
    assert response.get_json()["code"] == "deadline_exceeded"
    assert response.headers["Retry-After"] == "1"


def test_spent_budget_covers_decoding() -> None:
    budget = Budget(0.0)

    with pytest.raises(ModelTimeoutError, match="X-Request-Timeout-Ms"):
        Decoder().decode([grey(9)] * 2, (8, 8), budget)


def test_unexpected_error_is_bland_and_logged(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_url_rule("/broken", view_func=lambda: str(1 // 0))

    with caplog.at_level(logging.ERROR):
        response = app.test_client().get("/broken")

    assert response.status_code == 500
    assert "division" not in response.text
    assert "ZeroDivisionError" in caplog.text
    assert response.get_json()["request_id"] in caplog.text


def test_no_model_known_is_not_ready(
    settings: ServiceSettings, model_client: ModelServerClient
) -> None:
    queue = JobQueue(settings.redis_url, settings.runs_dir, settings.input_root)
    empty = ServiceSettings(model_server=settings.model_server)
    client = create_app(empty, model_client, queue).test_client()

    assert "this service has no model yet" in client.get("/readyz").text
    assert client.get("/readyz").status_code == 503
    assert post_image(client, grey(9)).status_code == 503
    assert client.get("/v1/models").get_json() == {"default_model": None, "models": []}
