"""POST /v1/predict: the right answer for the right image, in one call."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.pictures import grey
from tests.service.conftest import post_image, post_images
from tests.service.served_model import ServedModel

LEVELS = [(number * 37) % 256 for number in range(64)]


def test_answer_has_the_documented_form(client: FlaskClient) -> None:
    answer = post_images(client, [grey(51)]).get_json()

    assert answer == {
        "model": "pets",
        "version": 1,
        "labels": ["cat", "dog"],
        "predictions": [
            {
                "name": "0.png",
                "label": "cat",
                "probabilities": {"cat": 0.8, "dog": 0.2},
                "raw": {"cat": 0.8, "dog": 0.2},
            }
        ],
    }


def test_raw_body_has_no_name(client: FlaskClient) -> None:
    answer = post_image(client, grey(255)).get_json()

    assert answer["predictions"][0]["name"] is None
    assert answer["predictions"][0]["label"] == "dog"


def test_octet_stream_is_an_image_too(client: FlaskClient) -> None:
    response = post_image(client, grey(9), content_type="application/octet-stream")

    assert response.status_code == 200


def test_sixty_four_images_keep_their_order(client: FlaskClient) -> None:
    answer = post_images(client, [grey(level) for level in LEVELS]).get_json()

    names = [each["name"] for each in answer["predictions"]]
    dogs = [each["raw"]["dog"] for each in answer["predictions"]]
    assert names == [f"{number}.png" for number in range(64)]
    assert dogs == pytest.approx([level / 255 for level in LEVELS], abs=1e-6)


def test_good_images_beside_bad_ones_are_answered(client: FlaskClient) -> None:
    images = [grey(255), b"hello", grey(0), b"", grey(102)]

    response = post_images(client, images)

    entries = response.get_json()["predictions"]
    assert response.status_code == 200
    assert [each.get("label") for each in entries] == ["dog", None, "cat", None, "cat"]
    assert [entries[k]["error"]["code"] for k in (1, 3)] == [
        "unsupported_image",
        "empty_image",
    ]
    assert entries[1]["name"] == "1.png"


def test_steady_state_costs_one_call(client: FlaskClient, served: ServedModel) -> None:
    post_image(client, grey(1))
    served.calls.clear()

    post_image(client, grey(2))
    post_images(client, [grey(3), grey(4)], "?version=1")

    assert served.calls == ["serving_default", "serving_default"]


@pytest.mark.parametrize(
    ("query", "dog"),
    [
        ("", 0.95),
        ("?clip=0.8", 0.8),
        ("?clip=off", 1.0),
        ("?clip=1", 1.0),
    ],
)
def test_clip_bounds_probabilities_not_raw(
    client: FlaskClient, query: str, dog: float
) -> None:
    entry = post_image(client, grey(255), query).get_json()["predictions"][0]

    assert entry["probabilities"] == {"cat": pytest.approx(1 - dog), "dog": dog}
    assert entry["raw"] == {"cat": 0.0, "dog": 1.0}


def test_top_gives_the_likeliest_labels_only(client: FlaskClient) -> None:
    entry = post_image(client, grey(204), "?top=1").get_json()["predictions"][0]

    assert entry["probabilities"] == {"dog": 0.8}
    assert entry["raw"] == {"dog": 0.8}


def test_version_label_chooses_the_version(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions = (1, 2)
    served.version_labels = {"canary": 1}

    response = post_image(client, grey(9), "?label=canary")

    assert response.get_json()["version"] == 1
    assert post_image(client, grey(9)).get_json()["version"] == 2


def test_prediction_headers(client: FlaskClient) -> None:
    headers = post_image(client, grey(9), headers={"X-Request-ID": "photo-7"}).headers

    assert headers["X-Model-Name"] == "pets"
    assert headers["X-Model-Version"] == "1"
    assert headers["X-Request-ID"] == "photo-7"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert [part.split(";")[0] for part in headers["Server-Timing"].split(", ")] == [
        "decode",
        "queue",
        "infer",
    ]


def test_malformed_request_id_is_replaced(client: FlaskClient) -> None:
    response = client.get("/livez", headers={"X-Request-ID": "a b"})

    assert response.headers["X-Request-ID"].isalnum()


def test_large_files_are_spooled_and_answered(client: FlaskClient) -> None:
    large = grey(255, size=(500, 400), kind="BMP")
    assert len(large) > 500_000

    response = post_images(client, [large])

    assert response.get_json()["predictions"][0]["label"] == "dog"
