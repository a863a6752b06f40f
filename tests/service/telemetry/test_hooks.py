"""The access log's line: its members, and what must never be among them."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.telemetry.hooks import RequestIds
from tests.pictures import grey
from tests.service.conftest import post_image, post_images
from tests.service.served_model import ServedModel


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(RequestIds())


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [each.__dict__ for each in caplog.records if each.name == "kennel.access"]


def test_prediction_is_one_line(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = post_images(client, [grey(9), grey(8)], "?clip=off")

    (line,) = lines(caplog)
    expected = {
        "method": "POST",
        "route": "/v1/predict",
        "path": "/v1/predict",
        "status": 200,
        "bytes": len(response.data),
        "model": "pets",
        "version": 1,
        "images": 2,
        "outcome": "ok",
        "client": "127.0.0.1",
        "request_id": response.headers["X-Request-ID"],
        "trace_id": response.headers["traceparent"].split("-")[1],
    }
    assert expected.items() <= line.items()
    assert 0 < line["decode_ms"] + line["infer_ms"] < line["duration_ms"]
    assert "code" not in line


def test_problem_is_logged_with_its_code(
    client: FlaskClient, served: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    served.failure = grpc.StatusCode.UNAVAILABLE

    request_id = post_image(client, grey(9)).headers["X-Request-ID"]

    (line,) = lines(caplog)
    outcome = line["status"], line["code"], line["outcome"]
    assert outcome == (503, "model_not_ready", "upstream")
    # The line that says why has the same ids.
    ids = {each.__dict__["request_id"] for each in caplog.records}
    assert ids == {request_id}


def test_keys_and_queries_are_never_logged(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Authorization": "Bearer s3cret", "X-API-Key": "s3cret"}
    client.get("/v1/models?key=s3cret", headers=headers)

    (line,) = lines(caplog)
    assert "s3cret" not in repr(line)
    assert line["path"] == "/v1/models"


def test_name_of_the_key_is_logged(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    from flask import g

    app.before_request(lambda: setattr(g, "key_name", "nightly"))

    app.test_client().get("/v1/info")

    assert lines(caplog)[0]["key_name"] == "nightly"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_are_only_logged_when_debugging(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    client.get(path)
    assert lines(caplog) == []

    caplog.set_level(logging.DEBUG)
    client.get(path)
    assert [line["route"] for line in lines(caplog)] == [path]


def test_forged_path_is_quoted(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/x%0AINFO%20all%20is%20well" + "y" * 5000)

    (line,) = lines(caplog)
    assert line["path"].startswith("/x%0AINFO%20all%20is%20welly")
    assert len(line["path"]) < 600


def test_crash_is_logged_too(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    def crash() -> str:
        raise LookupError("lost")

    app.add_url_rule("/crash", view_func=crash)

    app.test_client().get("/crash")

    assert lines(caplog)[0]["status"] == 500
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.exc_info[0] for each in errors if each.exc_info] == [LookupError]
