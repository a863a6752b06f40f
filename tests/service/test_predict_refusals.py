"""POST /v1/predict: what is refused, with which status, code and reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.models.images.handmade import png
from tests.pictures import encoded, grey, noise
from tests.service.conftest import post_image, post_images
from worker.queue import JobQueue

BAD_IMAGES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "text": (lambda: b"hello, world", 422, "unsupported_image"),
    "empty": (lambda: b"", 422, "empty_image"),
    "truncated JPEG": (lambda: noise(1)[:-400], 422, "undecodable_image"),
    "palette PNG without palette": (
        lambda: png(b"\0", 8, 3),
        422,
        "undecodable_image",
    ),
    "EPS": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", 422, "unsupported_image"),
    "100 megapixels": (
        lambda: encoded(Image.new("1", (10_000, 10_000))),
        413,
        "too_many_pixels",
    ),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "multipart"])
def test_bad_image_is_refused(client: FlaskClient, case: str, raw: bool) -> None:
    make, status, code = BAD_IMAGES[case]
    image = make()

    response = post_image(client, image) if raw else post_images(client, [image])

    problem = response.get_json()
    assert response.content_type == "application/problem+json"
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem["errors"] == [
        {
            "index": 0,
            "name": None if raw else "0.png",
            "code": code,
            "detail": problem["detail"],
        }
    ]


def test_all_images_bad_lists_each(client: FlaskClient) -> None:
    response = post_images(client, [b"", b"hello", noise(1)[:-400]])

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (422, "undecodable_image")
    assert [
        (each["index"], each["name"], each["code"]) for each in problem["errors"]
    ] == [
        (0, "0.png", "empty_image"),
        (1, "1.png", "unsupported_image"),
        (2, "2.png", "undecodable_image"),
    ]


QUERIES = {
    "?colour=red": (422, "invalid_parameter", "colour"),
    "?clip=much": (422, "invalid_parameter", "clip"),
    "?clip=0.5": (422, "invalid_parameter", "clip"),
    "?clip=nan": (422, "invalid_parameter", "clip"),
    "?clip=1.01": (422, "invalid_parameter", "clip"),
    "?top=0": (422, "invalid_parameter", "top"),
    "?top=3": (422, "invalid_parameter", "top"),
    "?top=1.5": (422, "invalid_parameter", "top"),
    "?version=0": (422, "invalid_parameter", "version"),
    "?version=-1": (422, "invalid_parameter", "version"),
    "?version=new": (422, "invalid_parameter", "version"),
    "?version=99999999999999999999": (422, "invalid_parameter", "version"),
    "?version=1&label=a": (422, "invalid_parameter", "label"),
    "?label=%20": (422, "invalid_parameter", "label"),
    "?clip=0.9&clip=0.8": (422, "invalid_parameter", "clip"),
    "?model=cows": (404, "model_not_found", "cows"),
    "?model=": (404, "model_not_found", ""),
    "?version=7": (404, "version_not_found", "7"),
    "?label=canary": (404, "label_not_found", "canary"),
}


@pytest.mark.parametrize("query", QUERIES)
def test_query_is_refused(client: FlaskClient, query: str) -> None:
    status, code, named = QUERIES[query]

    response = post_image(client, grey(9), query)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert named in problem["detail"]


Send = Callable[[FlaskClient], Any]

REQUESTS: dict[str, tuple[Send, int, str]] = {
    "no body": (lambda c: c.post("/v1/predict"), 400, "no_image"),
    "no image field": (
        lambda c: c.post("/v1/predict", data={"file": (io.BytesIO(b"x"), "a.png")}),
        400,
        "no_image",
    ),
    "image field is text": (
        lambda c: c.post(
            "/v1/predict", data={"image": "a"}, content_type="multipart/form-data"
        ),
        400,
        "no_image",
    ),
    "a second, unknown field": (
        lambda c: c.post(
            "/v1/predict",
            data={"image": (io.BytesIO(grey(9)), "a.png"), "clip": "0.9"},
        ),
        422,
        "invalid_parameter",
    ),
    "65 images": (lambda c: post_images(c, [b"x"] * 65), 413, "too_many_images"),
    "200 images": (lambda c: post_images(c, [b"x"] * 200), 413, "too_large"),
    "oversize raw body": (lambda c: post_image(c, bytes(2**20 + 1)), 413, "too_large"),
    "oversize form": (lambda c: post_images(c, [bytes(2**20)]), 413, "too_large"),
    "XML": (
        lambda c: c.post("/v1/predict", data="<a/>", content_type="text/xml"),
        415,
        "unsupported_media_type",
    ),
    "no content type": (
        lambda c: c.post("/v1/predict", data=grey(9)),
        415,
        "unsupported_media_type",
    ),
    "unknown path": (lambda c: c.get("/v1/nothing"), 404, "not_found"),
    "GET": (lambda c: c.get("/v1/predict"), 405, "method_not_allowed"),
    "timeout is no number": (
        lambda c: post_image(c, grey(9), headers={"X-Request-Timeout-Ms": "1e3"}),
        422,
        "invalid_parameter",
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_request_is_refused(client: FlaskClient, case: str) -> None:
    send, status, code = REQUESTS[case]

    response = send(client)

    problem = response.get_json()
    assert response.content_type == "application/problem+json"
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["X-Request-ID"]


def test_method_not_allowed_says_what_is(client: FlaskClient) -> None:
    assert "POST" in client.get("/v1/predict").headers["Allow"]


def test_too_many_images_in_flight_are_turned_away(
    settings: ServiceSettings, model_client: ModelServerClient
) -> None:
    small = replace(settings, max_in_flight=2)
    queue = JobQueue(small.redis_url, small.runs_dir, small.input_root)
    client = create_app(small, model_client, queue).test_client()

    response = post_images(client, [grey(9)] * 3)

    assert (response.status_code, response.get_json()["code"]) == (503, "overloaded")
    assert int(response.headers["Retry-After"]) > 0
    assert post_images(client, [grey(9)] * 2).status_code == 200
