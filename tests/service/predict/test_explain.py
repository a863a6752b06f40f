"""POST /v1/explain: the heat map of a class, by one version only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from tests.fake_model_server import CARD
from tests.pictures import encoded
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel


def bright_corner() -> bytes:
    """White at the top right, a quarter of the image; else black."""
    image = Image.new("RGB", (32, 32))
    image.paste("white", (16, 0, 32, 16))
    return encoded(image)


def explain(client: FlaskClient, query: str = "", **options: Any) -> TestResponse:
    image = options.pop("image", bright_corner())
    return post_image(client, image, query, path="/v1/explain", **options)


def test_answer_has_the_documented_form(shared_client: FlaskClient) -> None:
    hot, cold = 1.0, 0.0

    assert explain(shared_client).get_json() == {
        "model": "pets",
        "version": 1,
        "labels": ["cat", "dog"],
        "prediction": {
            "name": None,
            "label": "cat",
            "probabilities": {"cat": 0.75, "dog": 0.25},
            "raw": {"cat": 0.75, "dog": 0.25},
        },
        "explained": "cat",
        "heatmap": {
            "method": "grad-cam",
            "height": 4,
            "width": 4,
            "values": [[cold, cold, hot, hot]] * 2 + [[cold] * 4] * 2,
        },
    }


def test_class_and_clip_are_what_was_asked_for(shared_client: FlaskClient) -> None:
    answer = explain(shared_client, "?class=dog&clip=0.7&model=pets").get_json()

    assert answer["explained"] == "dog"
    assert answer["prediction"]["label"] == "cat"
    assert answer["prediction"]["probabilities"] == {"cat": 0.7, "dog": 0.3}


def test_headers_say_who_answered_and_where_time_went(
    shared_client: FlaskClient,
) -> None:
    headers = explain(shared_client).headers

    assert (headers["X-Model-Name"], headers["X-Model-Version"]) == ("pets", "1")
    assert "decode;dur=" in headers["Server-Timing"]


@pytest.mark.parametrize(
    ("query", "status", "complaint"),
    [
        ("?class=bird", 422, "class='bird': 'pets' has the labels cat, dog"),
        ("?class=cat&class=dog", 422, "is there twice"),
        ("?top=1", 422, "unknown parameter 'top'"),
        ("?version=9", 404, "version 9 is not served"),
        ("?model=cows", 404, "no model 'cows'"),
    ],
)
def test_what_cannot_be_explained_is_named(
    shared_client: FlaskClient, query: str, status: int, complaint: str
) -> None:
    response = explain(shared_client, query)

    assert response.status_code == status
    assert complaint in response.get_json()["detail"]


def test_image_that_cannot_be_decoded_is_refused(shared_client: FlaskClient) -> None:
    response = explain(shared_client, image=b"text")

    assert response.status_code == 422
    assert response.get_json()["errors"][0]["code"] == "unsupported_image"


def test_text_that_is_no_base64_is_named(shared_client: FlaskClient) -> None:
    response = shared_client.post("/v1/explain", json={"images": ["no base64!"]})

    assert response.status_code == 422
    assert response.get_json()["code"] == "invalid_base64"


def test_version_without_the_signature_is_not_implemented(
    client: FlaskClient, served: ServedModel
) -> None:
    served.explains = False

    response = explain(client)

    assert response.status_code == 501
    assert response.get_json()["code"] == "not_implemented"
    assert "export it again" in response.get_json()["detail"]


def test_slow_model_meets_the_budget(client: FlaskClient, served: ServedModel) -> None:
    explain(client)
    served.delay_seconds = 1

    response = explain(client, headers={"X-Request-Timeout-Ms": "100"})

    assert response.get_json()["code"] == "deadline_exceeded"


def _new_labels(served: ServedModel) -> None:
    served.card = replace(CARD, labels=("dog", "cat"))


def _new_size(served: ServedModel) -> None:
    served.sizes = {2: (48, 64)}


@pytest.mark.parametrize("change", [_new_labels, _new_size])
def test_new_version_is_asked_anew_in_its_own_terms(
    client: FlaskClient, served: ServedModel, change: Callable[[ServedModel], None]
) -> None:
    explain(client)
    change(served)
    served.versions = (1, 2)

    answer = explain(client, "?class=dog").get_json()

    assert (answer["version"], answer["explained"]) == (2, "dog")


def test_label_that_only_the_new_version_has_is_found(
    client: FlaskClient, served: ServedModel
) -> None:
    explain(client)
    served.card, served.versions = replace(CARD, labels=("cat", "cow")), (2,)

    answer = explain(client, "?class=cow").get_json()

    assert (answer["version"], answer["explained"]) == (2, "cow")
