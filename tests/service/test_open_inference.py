"""The Open Inference Protocol, version 2, in JSON and with its binary extension."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.image_encoding import encode_bmp
from models.images import decode_image
from tests.pictures import grey, noise
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel

INFER = "/v2/models/pets/infer"
HEADER = "Inference-Header-Content-Length"


def b64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def tensor(datatype: str, *shape: int, **members: Any) -> dict[str, Any]:
    return {"name": "images", "datatype": datatype, "shape": shape, **members}


def infer(client: FlaskClient, images: dict[str, Any], **members: Any) -> TestResponse:
    return client.post(INFER, json={"inputs": [images], **members})


def infer_binary(
    client: FlaskClient, images: dict[str, Any], packed: bytes, **members: Any
) -> TestResponse:
    images = {**images, "parameters": {"binary_data_size": len(packed)}}
    head = json.dumps({"inputs": [images], **members}).encode()
    return client.post(INFER, data=head + packed, headers={HEADER: str(len(head))})


def pack(*images: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(image)) + image for image in images)


def test_encoded_images_are_answered_by_both_outputs(client: FlaskClient) -> None:
    images = tensor("BYTES", 2, data=[b64(grey(255)), b64(grey(51))])

    response = infer(client, images, id="42")

    answer = response.get_json()
    probabilities, logits = answer.pop("outputs")
    assert answer == {"model_name": "pets", "model_version": "1", "id": "42"}
    assert probabilities == {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [2, 2],
        "data": [0.0, 1.0, 0.8, 0.2],
    }
    assert (logits["name"], logits["shape"]) == ("logits", [2, 2])
    assert response.headers["X-Model-Version"] == "1"


def test_pixels_are_the_same_as_the_file_they_came_from(client: FlaskClient) -> None:
    photo = noise(7)
    pixels = decode_image(photo, (32, 32))
    raw = post_image(client, photo).get_json()["predictions"][0]["raw"]

    shape = (1, *pixels.shape)
    flat = pixels.ravel().tolist()
    as_json = infer(client, tensor("UINT8", *shape, data=flat))
    as_bytes = infer_binary(client, tensor("UINT8", *shape), pixels.tobytes())

    for response in (as_json, as_bytes):
        assert response.get_json()["outputs"][0]["data"] == list(raw.values())


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (224, 224)])
def test_bmp_holds_exactly_its_pixels(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)

    assert (decode_image(encode_bmp(pixels), size) == pixels).all()


def test_bytes_in_and_bytes_out(client: FlaskClient) -> None:
    response = infer_binary(
        client,
        tensor("BYTES", 2, 1),
        pack(grey(255), grey(51)),
        parameters={"binary_data_output": True},
    )

    length = int(response.headers[HEADER])
    head = json.loads(response.data[:length])
    values = np.frombuffer(response.data[length:], "<f4").reshape(2, 2, 2)
    assert [each["name"] for each in head["outputs"]] == ["probabilities", "logits"]
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert values[0] == pytest.approx(np.array([[0, 1], [0.8, 0.2]]))


def test_only_the_outputs_that_were_asked_for(client: FlaskClient) -> None:
    images = tensor("BYTES", 1, data=[b64(grey(9))])
    outputs = [{"name": "logits"}]

    answer = infer(client, images, outputs=outputs).get_json()

    assert [each["name"] for each in answer["outputs"]] == ["logits"]


PIXELS = [0] * (32 * 32 * 3)
INPUTS: dict[str, tuple[Any, int, str]] = {
    "no tensor": ([], 422, "invalid_parameter"),
    "two": ([tensor("BYTES", 1, data=[])] * 2, 422, "invalid_parameter"),
    "another name": ([{"name": "x"}], 422, "invalid_parameter"),
    "floats": ([tensor("FP32", 1, 32, 32, 3, data=[0.5])], 422, "invalid_parameter"),
    "rank 3": ([tensor("UINT8", 32, 32, 3, data=PIXELS)], 422, "invalid_parameter"),
    "one channel": ([tensor("UINT8", 3, 32, 32, 1, data=PIXELS)], 422, "invalid_parameter"),
    "too few": ([tensor("UINT8", 2, 32, 32, 3, data=PIXELS)], 422, "invalid_parameter"),
    "another size": ([tensor("UINT8", 3, 32, 16, 2, data=PIXELS)], 422, "invalid_parameter"),
    "smaller": ([tensor("UINT8", 4, 16, 16, 3, data=PIXELS)], 422, "invalid_parameter"),
    "256": ([tensor("UINT8", 1, 1, 1, 3, data=[0, 0, 256])], 422, "invalid_parameter"),
    "nested": ([tensor("UINT8", 1, 1, 1, 3, data=[[0, 0, 0]])], 422, "invalid_parameter"),
    "negative": ([tensor("UINT8", -1, 32, 32, 3, data=PIXELS)], 422, "invalid_parameter"),
    "none": ([tensor("BYTES", 0, data=[])], 400, "no_image"),
    "65": ([tensor("BYTES", 65, data=[""] * 65)], 413, "too_many_images"),
    "one too few": ([tensor("BYTES", 2, data=[""])], 422, "invalid_parameter"),
    "no text": ([tensor("BYTES", 1, data=[1])], 422, "invalid_parameter"),
    "no base64": ([tensor("BYTES", 1, data=["?"])], 422, "invalid_base64"),
    "no image": ([tensor("BYTES", 1, data=["AAAA"])], 422, "unsupported_image"),
}  # fmt: skip


@pytest.mark.parametrize("case", INPUTS)
def test_input_is_refused_before_the_model_server(
    client: FlaskClient, served: ServedModel, case: str
) -> None:
    inputs, status, code = INPUTS[case]

    response = client.post(INFER, json={"inputs": inputs})

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem["error"] == problem["detail"]
    assert served.batches == []


@pytest.mark.parametrize(
    "members",
    [
        {"outputs": "logits"},
        {"outputs": [{"name": "softmax"}]},
        {"outputs": [{"name": []}]},
        {"outputs": ["logits"]},
        {"outputs": [{"name": "logits"}] * 2},
        {"id": 7},
        {"parameters": []},
        {"colour": "red"},
    ],
    ids=str,
)
def test_member_is_refused(client: FlaskClient, members: dict[str, Any]) -> None:
    response = infer(client, tensor("BYTES", 1, data=[b64(grey(9))]), **members)

    assert response.get_json()["code"] == "invalid_parameter"


@pytest.mark.parametrize("packed", [pack(b"ab")[:-1], b"\x00", pack(b"a") + b"\x01"])
def test_cut_off_bytes_are_refused(client: FlaskClient, packed: bytes) -> None:
    response = infer_binary(client, tensor("BYTES", 1), packed)

    assert response.get_json()["code"] == "invalid_parameter"


@pytest.mark.parametrize("length", ["-1", "9999", "x"])
def test_impossible_length_is_refused(client: FlaskClient, length: str) -> None:
    response = client.post(INFER, data=b"{}", headers={HEADER: length})

    assert response.get_json()["code"] == "invalid_parameter"


def test_metadata_describe_server_and_model(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions = (1, 2)

    server = client.get("/v2").get_json()
    model = client.get("/v2/models/pets").get_json()

    assert (server["name"], server["extensions"]) == ("kennel", ["binary_tensor_data"])
    assert model["versions"] == ["2", "1"]
    assert model["inputs"] == [{"name": "images", "datatype": "BYTES", "shape": [-1]}]
    assert [each["shape"] for each in model["outputs"]] == [[-1, 2], [-1, 2]]


READY = {
    "/v2/health/live": 200,
    "/v2/health/ready": 503,
    "/v2/models/pets/ready": 503,
    "/v2/models/pets/versions/1/ready": 503,
    "/v2/models/cows/ready": 404,
}


@pytest.mark.parametrize("path", READY)
def test_readiness_follows_the_model(
    client: FlaskClient, served: ServedModel, path: str
) -> None:
    before = client.get(path).status_code
    served.versions, served.loading = (), (1,)

    assert (before in {200, 404}, client.get(path).status_code) == (True, READY[path])


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/pets/ready"])
def test_probes_are_not_kept_waiting_as_long_as_predictions(
    client: FlaskClient, served: ServedModel, path: str
) -> None:
    assert client.get(path).status_code == 200

    # gRPC sends a deadline of 2 s rounded up, by 10 ms.
    assert 1 < served.status_seconds < 2.02
