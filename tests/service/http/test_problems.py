"""Problem documents: short, without internals, for every method."""

from __future__ import annotations

import io
import logging
import re
import tarfile
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.routing import Rule
from werkzeug.test import encode_multipart

from models.errors import KennelError, detached, quoted, quoted_names
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


def test_the_api_describes_itself_without_settings(shared_client: FlaskClient) -> None:
    # Examples show the address of a client's own service.
    text = shared_client.get("/openapi.json").text.replace("http://127.0.0.1:8000", "")

    assert _told(text) == []


@pytest.mark.parametrize("failure", [code for code in grpc.StatusCode if code.value[0]])
def test_failures_of_the_model_server_are_logged_not_told(
    shared_client: FlaskClient,
    failing_model: ServedModel,
    failure: grpc.StatusCode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    post_image(shared_client, grey(9))
    failing_model.failure = failure
    instance = {"b64": "aGk="}

    answers = [
        post_image(shared_client, grey(9)),
        shared_client.post("/v1/explain", data=grey(9), content_type="image/png"),
        shared_client.post("/v1/models/pets:predict", json={"instances": []}),
        shared_client.post("/v1/models/pets:predict", json={"instances": [instance]}),
        shared_client.get("/v2/models/pets/ready"),
        *map(shared_client.get, PAGES),
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
    shared_client: FlaskClient, folder: str
) -> None:
    answers = [
        shared_client.post("/v1/jobs", json={"input": folder}),
        shared_client.post("/v1/jobs", json={"input": "a", "manifest": folder}),
        shared_client.post("/v1/jobs", json={"manifest": None}),
    ]

    for answer in answers:
        assert answer.status_code == 422
        assert _told(answer.text) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x01\x02\x03garbage", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<svg/>"],
)
def test_files_are_refused_without_pythons_words(
    shared_client: FlaskClient, content: bytes
) -> None:
    assert _told(post_image(shared_client, content).text) == []


@pytest.mark.parametrize(
    "body",
    [{"model": None, "input": None}, [None, True], {"input": {"a": [None]}}],
)
def test_json_is_quoted_as_json(shared_client: FlaskClient, body: object) -> None:
    answer = shared_client.post("/v1/jobs", json=body)

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
    shared_client: FlaskClient, path: str, body: bytes, told: str
) -> None:
    answer = shared_client.post(path, data=body, content_type="application/json")

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


LONG = "x" * 100_000
LONGEST_ANSWER = 4_000
"""Bytes; the request may be of 64 MiB."""


def tensor(**changes: Any) -> dict[str, Any]:
    shown = {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["AA=="]}
    return {"inputs": [{**shown, **changes}]}


def archive(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.type = kind
        tar.addfile(member)
    return packed.getvalue()


def job(**members: Any) -> dict[str, Any]:
    return {"json": {"input": "test", **members}}


def tar(name: str, kind: bytes = tarfile.REGTYPE) -> dict[str, Any]:
    return {"data": archive(name, kind), "content_type": "application/x-tar"}


def image(**options: Any) -> dict[str, Any]:
    return {"data": grey(9), "content_type": "image/png", **options}


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "name in JSON": ("/v1/predict", {"json": {"images": [{"b64": "", "name": LONG}]}}),
    "name that is a list": (
        "/v1/predict",
        {"json": {"images": [{"b64": "", "name": {LONG: [LONG]}}]}},
    ),
    "member of JSON": ("/v1/predict", {"json": {LONG: 1}}),
    "member of an image": ("/v1/predict", {"json": {"images": [{"b64": "", LONG: 1}]}}),
    "base64": ("/v1/predict", {"json": {"images": [LONG + "!"]}}),
    "JSON": ("/v1/predict", {"data": LONG, "content_type": "application/json"}),
    "parameter": (f"/v1/predict?{LONG}=1", image()),
    "model": (f"/v1/predict?model={LONG}", image()),
    "version": (f"/v1/predict?version={LONG}", image()),
    "label": (f"/v1/predict?label={LONG}", image()),
    "clip": (f"/v1/predict?clip={LONG}", image()),
    "top": (f"/v1/predict?top={LONG}", image()),
    "class": (f"/v1/explain?class={LONG}", image()),
    "timeout": ("/v1/predict", image(headers={"X-Request-Timeout-Ms": LONG})),
    "content type": ("/v1/predict", image(content_type=f"text/{LONG}")),
    "request id": ("/v1/predict", {"headers": {"X-Request-ID": LONG}}),
    "trace": ("/v1/predict", {"headers": {"traceparent": LONG}}),
    "signature": ("/v1/models/pets:predict", {"json": {"signature_name": LONG}}),
    "row": ("/v1/models/pets:predict", {"json": {"instances": [{LONG: 1}]}}),
    "column": ("/v1/models/pets:predict", {"json": {"inputs": {LONG: 1, "a": 1}}}),
    "path": (f"/v1/models/{LONG}:predict", {"json": {}}),
    "id": ("/v2/models/pets/infer", {"json": {"id": LONG, **tensor()}}),
    "id that is a list": (
        "/v2/models/pets/infer",
        {"json": {"id": [LONG], **tensor()}},
    ),
    "datatype": ("/v2/models/pets/infer", {"json": tensor(datatype=LONG)}),
    "shape": ("/v2/models/pets/infer", {"json": tensor(shape=[10**4000] * 50)}),
    "pixels": (
        "/v2/models/pets/infer",
        {"json": tensor(datatype="UINT8", shape=[10**4000, 1, 1, 3], data=[1])},
    ),
    "size": (
        "/v2/models/pets/infer",
        {"json": tensor(parameters={"binary_data_size": LONG})},
    ),
    "tensor's member": ("/v2/models/pets/infer", {"json": tensor(**{LONG: 1})}),
    "input": ("/v1/jobs", job(input=LONG[:60_000])),
    "absolute input": ("/v1/jobs", job(input="/" + LONG[:60_000])),
    "job's member": ("/v1/jobs", job(**{LONG[:60_000]: 1})),
    "job's model": ("/v1/jobs", job(model=LONG[:60_000])),
    "job's version": ("/v1/jobs", job(version=[LONG[:60_000]])),
    "format": ("/v1/jobs", job(format=LONG[:60_000])),
    "format that is a list": ("/v1/jobs", job(format=[LONG[:60_000]])),
    "positive": ("/v1/jobs", job(positive=LONG[:60_000])),
    "priority": ("/v1/jobs", job(priority=LONG[:60_000])),
    "job's clip": ("/v1/jobs", job(clip=LONG[:60_000])),
    "manifest": ("/v1/jobs", job(manifest=LONG[:60_000])),
    "sample": ("/v1/jobs", job(sample_submission="/" + LONG[:60_000])),
    "idempotency key": ("/v1/jobs", {**job(), "headers": {"Idempotency-Key": LONG}}),
    "member of an archive": ("/v1/jobs", tar(LONG)),
    "absolute member": ("/v1/jobs", tar("/" + LONG)),
    "link in an archive": ("/v1/jobs", tar(LONG[:200] + LONG, tarfile.SYMTYPE)),
    "member that is no text": ("/v1/jobs", tar("\\" + LONG)),
    "job": (f"/v1/jobs/{LONG}/cancel", {}),
    "nothing's path": (f"/{LONG}", {}),
    "sign-in": ("/login", {"data": {"key": "a", "next": "/" + LONG[:4000]}}),
}

READS = {
    "state": f"/v1/jobs?state={LONG}",
    "after": f"/v1/jobs?after={LONG}",
    "limit": f"/v1/jobs?limit={LONG}",
    "limits": "/v1/jobs?limit=" + "9" * 100_000,
    "parameter": f"/v1/jobs?{LONG}=1",
    "twice": f"/v1/jobs?limit=1&limit={LONG}",
    "job": f"/v1/jobs/{LONG}",
    "image": f"/v1/jobs/x/images/{LONG}",
    "model": f"/v1/models/{LONG}",
    "page": f"/models/{LONG}",
    "page of a job": f"/jobs/{LONG}",
    "rollout": f"/v1/models/{LONG}/rollout",
}


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def check_short(response: Any, logged: pytest.LogCaptureFixture) -> None:
    assert 300 <= response.status_code < 500
    assert len(response.data) + len(str(response.headers)) < LONGEST_ANSWER
    assert max(len(each.getMessage()) for each in logged.records) < LONGEST_ANSWER
    assert LONG[:2001].encode() not in response.data


@pytest.mark.parametrize("case", REQUESTS)
def test_long_value_does_not_come_back(
    shared_client: FlaskClient,
    logged: pytest.LogCaptureFixture,
    case: str,
) -> None:
    path, options = REQUESTS[case]

    check_short(shared_client.post(path, **options), logged)


@pytest.mark.parametrize("case", READS)
def test_long_value_of_a_read_does_not_come_back(
    shared_client: FlaskClient, logged: pytest.LogCaptureFixture, case: str
) -> None:
    check_short(shared_client.get(READS[case]), logged)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v1/jobs"])
@pytest.mark.parametrize(
    ("field", "file"),
    [("image", LONG), (LONG, "a.png"), ("archive", LONG), ("manifest", LONG)],
    ids=["image's name", "field", "archive's name", "sheet's name"],
)
def test_long_names_in_forms_do_not_come_back(
    shared_client: FlaskClient,
    logged: pytest.LogCaptureFixture,
    path: str,
    field: str,
    file: str,
) -> None:
    boundary, body = encode_multipart({field: FileStorage(io.BytesIO(grey(9)), file)})
    kind = f"multipart/form-data; boundary={boundary}"

    check_short(shared_client.post(path, data=body, content_type=kind), logged)


def test_many_names_in_forms_do_not_come_back(shared_client: FlaskClient) -> None:
    boundary, body = encode_multipart({f"{n}{LONG[:200]}": "1" for n in range(40)})
    kind = f"multipart/form-data; boundary={boundary}"

    response = shared_client.post("/v1/predict", data=body, content_type=kind)

    assert "and 35 more" in response.get_json()["detail"]
    assert len(response.data) < LONGEST_ANSWER


@pytest.mark.parametrize("count", [255, 256])
def test_name_of_255_characters_is_the_longest(
    shared_client: FlaskClient, count: int
) -> None:
    named = {"b64": "", "name": "\xe9" * count}

    response = shared_client.post("/v1/predict", json={"images": [named]})

    problem = response.get_json()
    if count == 255:
        assert problem["errors"][0]["name"] == named["name"]
    else:
        assert problem["code"] == "invalid_parameter"
        assert "256 characters" in problem["detail"]
        assert "the limit is 255" in problem["detail"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("x" * 80, f"'{'x' * 80}'"),
        ("x" * 81, f"'{'x' * 80}'..."),
        (b"\xff" * 81, repr(b"\xff" * 80)[1:] + "..."),
        (b"RIFF", "'RIFF'"),
        ([1, 2], "[1, 2]"),
        ([None, True], "[null, true]"),
        ({"caf\xe9": ["a'b"]}, '{"caf\xe9": ["a\'b"]}'),
        (["\ud800\u2028"], r'["\ud800\u2028"]'),
        (None, "null"),
    ],
)
def test_values_are_quoted_in_80_characters(value: object, text: str) -> None:
    assert quoted(value) == text


@pytest.mark.parametrize(
    "value",
    [
        {"a" * 10**6: "b" * 10**6},
        [["x" * 1000] * 1000] * 1000,
        10**4000,
        [[[[[[[[1]]]]]]]],
        {str(n): n for n in range(1000)},
    ],
    ids=["dict", "lists", "number", "nested", "members"],
)
def test_large_values_are_quoted_short(value: object) -> None:
    assert len(quoted(value)) <= 83


def test_first_names_are_quoted() -> None:
    assert quoted_names([]) == "none"
    assert quoted_names("abc") == "'a', 'b', 'c'"
    assert quoted_names(range(1007)) == "0, 1, 2, 3, 4 and 1,002 more"


PARTS = {"name": "pets", "version": "1", "label": "stable", "job": "nothing"}
ALL = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE")


def routes(app: Flask) -> Iterator[tuple[str, Rule]]:
    for rule in app.url_map.iter_rules():
        parts = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule)
        if set(re.findall(r"{(\w+)}", parts)) <= set(PARTS):
            yield parts.format(**PARTS), rule


def allowed(app: Flask, path: str) -> set[str]:
    found = [rule.methods or set() for each, rule in routes(app) if each == path]
    return set().union(*found)


def test_other_methods_are_refused_with_those_allowed(
    app: Flask, client: FlaskClient
) -> None:
    for path in {path for path, _ in routes(app)}:
        for method in set(ALL) - allowed(app, path):
            response = client.open(path, method=method)

            allow = set(response.headers["Allow"].split(", "))
            assert (response.status_code, allow) == (405, allowed(app, path))
            assert response.content_type == "application/problem+json"
            problem = response.get_json()
            assert problem["code"] == "method_not_allowed"
            possible = ", ".join(sorted(allow))
            told = f"{method} is not possible at {path}: use {possible}"
            assert problem["detail"] == told


def test_options_lists_the_methods(app: Flask, client: FlaskClient) -> None:
    for path in {path for path, _ in routes(app)}:
        response = client.options(path)

        allow = set(response.headers["Allow"].split(", "))
        assert (response.status_code, allow) == (200, allowed(app, path))


@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/openapi.json", "/docs"])
def test_head_is_get_without_the_body(shared_client: FlaskClient, path: str) -> None:
    with shared_client.get(path) as get, shared_client.head(path) as head:
        assert (head.status_code, head.data) == (get.status_code, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
        assert head.content_type == get.content_type


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/models/", "/v2/", "/v1/models/a/b"]
)
def test_unknown_path_is_not_found(
    shared_client: FlaskClient, method: str, path: str
) -> None:
    response = shared_client.open(path, method=method)

    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
