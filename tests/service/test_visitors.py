"""Visitors read nothing of the inside: addresses, settings, other programs' words."""

from __future__ import annotations

import logging
import re

import grpc
import pytest
from flask.testing import FlaskClient

from models.errors import KennelError, detached, quoted
from service.settings import ServiceSettings
from tests.pictures import grey
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel

INSIDE = re.compile(
    r"127\.0\.0\.1:\d|localhost:\d|\bgrpc\b|told to fail|object at 0x|Traceback|Errno"
    r"|/tmp/|Error\(|\bb'|\b[A-Z]{2,}_(ROOT|NAMES|FILE|MODEL|URL|DIR|BYTES|IMAGES|HOSTS|DAYS)"
    r"|\bRedis(Error)?\b|Connection refused|(?<!-)\bNone\b(?!-)"
)
PAGES = ("/", "/jobs", "/models/pets", "/models/pets?version=7", "/jobs/nojob")
FOLDERS = ("", "/etc", "../up", "nothere", "a\\c", "x\0y")


def _told(text: str) -> list[str]:
    return [found[0] for found in INSIDE.finditer(text)]


def test_the_api_describes_itself_without_settings(client: FlaskClient) -> None:
    # Examples show the address of a client's own service.
    text = client.get("/openapi.json").text.replace("http://127.0.0.1:8000", "")

    assert _told(text) == []


@pytest.mark.parametrize("failure", [code for code in grpc.StatusCode if code.value[0]])
def test_failures_of_the_model_server_are_logged_not_told(
    client: FlaskClient,
    served: ServedModel,
    failure: grpc.StatusCode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    post_image(client, grey(9))
    served.failure = failure

    answers = [
        post_image(client, grey(9)),
        client.post("/v1/explain", data=grey(9), content_type="image/png"),
        client.post("/v1/models/pets:predict", json={"instances": []}),
        client.post("/v1/models/pets:predict", json={"instances": [{"b64": "aGk="}]}),
        client.get("/v2/models/pets/ready"),
        *map(client.get, PAGES),
    ]

    for answer in answers:
        assert _told(answer.text) == [], answer.request.path
    if failure is not grpc.StatusCode.NOT_FOUND:
        problem = answers[0].get_json()
        assert f"{problem['request_id']} {problem['code']}: the model server at" in (
            caplog.text
        )


def test_what_is_away_is_not_named(
    client: FlaskClient, settings: ServiceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (settings.input_root / "a").mkdir()

    # Nothing listens at the address of Redis.
    ready = client.get("/readyz")
    submitted = client.post("/v1/jobs", json={"input": "a"})

    assert ready.get_json()["parts"]["redis"]["status"] == "unavailable"
    assert submitted.status_code in {422, 503}
    for text in (ready.text, submitted.text, client.get("/jobs").text):
        assert _told(text) == []
    assert "Connection refused" in caplog.text


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_are_refused_without_settings(
    jobs_client: FlaskClient, folder: str
) -> None:
    answers = [
        jobs_client.post("/v1/jobs", json={"input": folder}),
        jobs_client.post("/v1/jobs", json={"input": "a", "manifest": folder}),
        jobs_client.post("/v1/jobs", json={"manifest": None}),
    ]

    for answer in answers:
        assert answer.status_code == 422
        assert _told(answer.text) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x01\x02\x03garbage", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<svg/>"],
)
def test_files_are_refused_without_pythons_words(
    client: FlaskClient, content: bytes
) -> None:
    assert _told(post_image(client, content).text) == []


@pytest.mark.parametrize(
    "body",
    [{"model": None, "input": None}, [None, True], {"input": {"a": [None]}}],
)
def test_json_is_quoted_as_json(client: FlaskClient, body: object) -> None:
    answer = client.post("/v1/jobs", json=body)

    assert answer.status_code == 422
    assert _told(answer.text) == []
    assert "True" not in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is empty, not JSON"),
        (b'{"images": "\xe9"}', "the body is not JSON (it is not UTF-8 at byte 13)"),
        (b'{"images": 1' + b"0" * 5000 + b"}", "a number in it has too many digits"),
        (grey(9), "the body is a PNG file, not JSON: put it into the JSON as base64"),
    ],
    ids=["empty", "latin-1", "number", "image"],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v2/models/pets/infer"])
def test_json_is_refused_without_pythons_words(
    client: FlaskClient, path: str, body: bytes, told: str
) -> None:
    answer = client.post(path, data=body, content_type="application/json")

    assert answer.status_code == 400
    assert told in answer.get_json()["detail"]


def test_values_are_quoted_as_people_write_them() -> None:
    assert quoted("a") == "'a'"
    assert quoted(b"\0\x01ab") == r"'\x00\x01ab'"
    assert quoted([None, True, 1]) == "[null, true, 1]"
    assert quoted(None) == "null"


def test_a_copy_of_an_error_keeps_what_visitors_read() -> None:
    error = KennelError("10.0.0.1 broke off", visitor_message="it broke off")

    assert detached(error).public == error.public == "it broke off"
    assert KennelError("plain").public == "plain"
