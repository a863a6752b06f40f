"""POST /v1/predict with base64 in JSON: the same answers as with files."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.pictures import grey, noise
from tests.service.conftest import post_images


def text(image: bytes) -> str:
    return base64.b64encode(image).decode()


def post_json(client: FlaskClient, *images: Any, query: str = "") -> TestResponse:
    return client.post(f"/v1/predict{query}", json={"images": images})


def test_answers_are_those_for_files(shared_client: FlaskClient) -> None:
    images = [noise(1), grey(51), noise(2)]
    files = post_images(shared_client, images, "?clip=0.9").get_json()

    named = [
        {"name": f"{number}.png", "b64": text(image)}
        for number, image in enumerate(images)
    ]
    assert post_json(shared_client, *named, query="?clip=0.9").get_json() == files


def test_image_may_be_a_bare_text(shared_client: FlaskClient) -> None:
    [entry] = post_json(shared_client, text(grey(255))).get_json()["predictions"]

    assert (entry["name"], entry["label"]) == (None, "dog")


def test_bad_text_is_an_error_beside_the_answers(shared_client: FlaskClient) -> None:
    texts = [
        "no base64!",
        text(grey(255)),
        "",
        text(b"hello"),
        "data:image/png;base64,",
    ]

    entries = post_json(shared_client, *texts).get_json()["predictions"]

    assert entries[1]["label"] == "dog"
    assert [entry.get("error", {}).get("code") for entry in entries] == [
        "invalid_base64",
        None,
        "empty_image",
        "unsupported_image",
        "invalid_base64",
    ]


def test_nothing_but_bad_texts_is_refused(shared_client: FlaskClient) -> None:
    response = post_json(shared_client, {"name": "a.png", "b64": "?"}, "é")

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (422, "invalid_base64")
    assert [each["name"] for each in problem["errors"]] == ["a.png", None]


BODIES: dict[str, tuple[Any, int, str]] = {
    "no images": ({}, 400, "no_image"),
    "an empty list": ({"images": []}, 400, "no_image"),
    "no object": ([], 422, "invalid_parameter"),
    "no list": ({"images": "AAAA"}, 422, "invalid_parameter"),
    "a number": ({"images": [1]}, 422, "invalid_parameter"),
    "no text": ({"images": [{"b64": None}]}, 422, "invalid_parameter"),
    "an unknown member": ({"images": ["AA=="], "clip": 1}, 422, "invalid_parameter"),
    "another": ({"images": [{"b64": "", "url": ""}]}, 422, "invalid_parameter"),
    "a name of no kind": (
        {"images": [{"b64": "", "name": 1}]},
        422,
        "invalid_parameter",
    ),
    "65 images": ({"images": ["AAAA"] * 65}, 413, "too_many_images"),
    "too many parts": ({"images": [[]] * 9000}, 413, "too_large"),
    "too large": ({"images": ["A" * 2**20]}, 413, "too_large"),
}


@pytest.mark.parametrize("case", BODIES)
def test_body_is_refused(shared_client: FlaskClient, case: str) -> None:
    body, status, code = BODIES[case]

    response = shared_client.post("/v1/predict", json=body)

    assert (response.status_code, response.get_json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 4000, b"1" * 5000], ids=repr
)
def test_body_is_no_json(shared_client: FlaskClient, body: bytes) -> None:
    response = shared_client.post(
        "/v1/predict", data=body, content_type="application/json"
    )

    assert (response.status_code, response.get_json()["code"]) == (400, "bad_request")


def test_names_come_back_as_they_were(shared_client: FlaskClient) -> None:
    name = 'Ré,x[1]{2}"\\.jpg\ud800'
    body = json.dumps({"images": [{"name": name, "b64": text(grey(9))}]})

    response = shared_client.post(
        "/v1/predict", data=body, content_type="application/json"
    )

    assert response.get_json()["predictions"][0]["name"] == name
