"""TensorFlow Serving's REST paths: requests and answers of its clients."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.pictures import grey, noise
from tests.service.conftest import post_images
from tests.service.served_model import ServedModel

PREDICT = "/v1/models/pets:predict"


def b64(image: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(image).decode()}


def ask(client: FlaskClient, path: str = PREDICT, **body: Any) -> TestResponse:
    # As curl -d does it, and with that TensorFlow Serving's own documentation.
    kind = "application/x-www-form-urlencoded"
    return client.post(path, data=json.dumps(body), content_type=kind)


def test_rows_are_the_models_own_outputs(shared_client: FlaskClient) -> None:
    images = [noise(1), grey(255)]
    files = post_images(shared_client, images).get_json()["predictions"]

    response = ask(
        shared_client, instances=[b64(images[0]), {"images": b64(images[1])}]
    )

    rows = response.get_json()["predictions"]
    assert [row["probabilities"] for row in rows] == [
        [each["raw"]["cat"], each["raw"]["dog"]] for each in files
    ]
    assert rows[1]["probabilities"] == [0.0, 1.0]
    assert rows[1]["logits"][1] == 0.0
    assert response.headers["X-Model-Version"] == "1"


@pytest.mark.parametrize("named", [True, False])
def test_columns_are_answered_by_columns(
    shared_client: FlaskClient, named: bool
) -> None:
    images = [b64(grey(255)), b64(grey(0))]

    body = ask(shared_client, inputs={"images": images} if named else images).get_json()

    assert body["outputs"]["probabilities"] == [[0.0, 1.0], [1.0, 0.0]]
    assert list(body["outputs"]) == ["probabilities", "logits"]


def test_version_and_label_choose(client: FlaskClient, served: ServedModel) -> None:
    served.versions, served.version_labels = (1, 2), {"canary": 1}
    model, body = "/v1/models/pets", {"instances": [b64(grey(9))]}

    answers = {
        path: ask(client, f"{model}{path}:predict", **body).headers["X-Model-Version"]
        for path in ("", "/versions/1", "/versions/2", "/labels/canary")
    }

    assert list(answers.values()) == ["2", "1", "2", "1"]


def test_wrong_pixels_never_reach_the_model_server(
    client: FlaskClient, served: ServedModel
) -> None:
    response = ask(client, instances=[[[[1, 2, 3]]], [[1]]])

    assert (response.status_code, response.get_json()["code"]) == (
        422,
        "invalid_parameter",
    )
    assert "b64" in response.get_json()["error"]
    assert served.batches == []


BODIES: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing": ({}, 422, "invalid_parameter"),
    "both": ({"instances": [], "inputs": []}, 422, "invalid_parameter"),
    "no instance": ({"instances": []}, 400, "no_image"),
    "no list": ({"instances": {"b64": ""}}, 422, "invalid_parameter"),
    "a text": ({"instances": ["AAAA"]}, 422, "invalid_parameter"),
    "another input": ({"inputs": {"x": []}}, 422, "invalid_parameter"),
    "more in it": ({"instances": [{"b64": "", "a": 1}]}, 422, "invalid_parameter"),
    "no base64": ({"instances": [{"b64": "?"}]}, 422, "invalid_base64"),
    "no image": ({"instances": [{"b64": "AAAA"}]}, 422, "unsupported_image"),
    "65": ({"instances": [{"b64": ""}] * 65}, 413, "too_many_images"),
    "signature": (
        {"signature_name": "describe", "instances": [b64(b"")]},
        400,
        "unknown_signature",
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_body_is_refused(shared_client: FlaskClient, case: str) -> None:
    body, status, code = BODIES[case]

    response = ask(shared_client, **body)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem["error"] == problem["detail"]


def test_bad_image_is_named(shared_client: FlaskClient) -> None:
    response = ask(shared_client, instances=[b64(grey(9)), b64(noise(1)[:-400])])

    assert "image 1" in response.get_json()["error"]


def test_status_is_beside_our_own_members(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.loading = (1, 2), (3,)

    model = client.get("/v1/models/pets").get_json()

    assert {"name", "versions"} < set(model)
    assert [
        (each["version"], each["state"]) for each in model["model_version_status"]
    ] == [("3", "LOADING"), ("2", "AVAILABLE"), ("1", "AVAILABLE")]


@pytest.mark.parametrize("path", ["versions/1", "labels/canary"])
def test_status_of_one_version(
    client: FlaskClient, served: ServedModel, path: str
) -> None:
    served.versions, served.version_labels = (1, 2), {"canary": 1}

    assert client.get(f"/v1/models/pets/{path}").get_json() == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def test_metadata_asks_for_encoded_images(shared_client: FlaskClient) -> None:
    metadata = shared_client.get("/v1/models/pets/metadata").get_json()

    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    inputs = signatures["serving_default"]["inputs"]
    outputs = signatures["serving_default"]["outputs"]
    assert metadata["model_spec"]["version"] == "1"
    assert inputs["images"]["dtype"] == "DT_STRING"
    assert [each["size"] for each in outputs["logits"]["tensor_shape"]["dim"]] == [
        "-1",
        "2",
    ]


PATHS = {
    ("POST", "/v1/models/cows:predict"): (404, "model_not_found"),
    ("POST", "/v1/models/pets/versions/7:predict"): (404, "version_not_found"),
    ("POST", "/v1/models/pets/labels/new:predict"): (404, "label_not_found"),
    ("POST", "/v1/models/pets/versions/0:predict"): (404, "not_found"),
    ("POST", "/v1/models/pets:explode"): (404, "not_found"),
    ("GET", "/v1/models/pets:predict"): (405, "method_not_allowed"),
    ("POST", "/v1/models/pets"): (405, "method_not_allowed"),
    ("GET", "/v1/models/pets/versions/7"): (404, "version_not_found"),
    ("GET", "/v1/models/pets/versions/99999999999999999999"): (404, "not_found"),
    ("GET", "/v1/models/pets/labels/new/metadata"): (404, "label_not_found"),
    ("GET", "/v1/models/cows/metadata"): (404, "model_not_found"),
}


@pytest.mark.parametrize("asked", PATHS, ids=" ".join)
def test_path_is_refused(shared_client: FlaskClient, asked: tuple[str, str]) -> None:
    method, path = asked
    body = json.dumps({"instances": [b64(grey(9))]})

    response = shared_client.open(path, method=method, data=body)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == PATHS[asked]
    assert isinstance(problem["error"], str)
