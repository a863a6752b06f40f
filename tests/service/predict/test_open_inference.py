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

from models.images.codec import decode_image, encode_bmp
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


def test_encoded_images_are_answered_by_both_outputs(
    shared_client: FlaskClient,
) -> None:
    images = tensor("BYTES", 2, data=[b64(grey(255)), b64(grey(51))])

    response = infer(shared_client, images, id="42")

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


def test_pixels_are_the_same_as_the_file_they_came_from(
    shared_client: FlaskClient,
) -> None:
    photo = noise(7)
    pixels = decode_image(photo, (32, 32))
    raw = post_image(shared_client, photo).get_json()["predictions"][0]["raw"]

    shape = (1, *pixels.shape)
    flat = pixels.ravel().tolist()
    as_json = infer(shared_client, tensor("UINT8", *shape, data=flat))
    as_bytes = infer_binary(shared_client, tensor("UINT8", *shape), pixels.tobytes())

    for response in (as_json, as_bytes):
        assert response.get_json()["outputs"][0]["data"] == list(raw.values())


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (224, 224)])
def test_bmp_holds_exactly_its_pixels(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)

    assert (decode_image(encode_bmp(pixels), size) == pixels).all()


def test_bytes_in_and_bytes_out(shared_client: FlaskClient) -> None:
    response = infer_binary(
        shared_client,
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


def test_only_the_outputs_that_were_asked_for(shared_client: FlaskClient) -> None:
    images = tensor("BYTES", 1, data=[b64(grey(9))])
    outputs = [{"name": "logits"}]

    answer = infer(shared_client, images, outputs=outputs).get_json()

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
    shared_client: FlaskClient, shared_model: ServedModel, case: str
) -> None:
    inputs, status, code = INPUTS[case]
    shared_model.batches.clear()

    response = shared_client.post(INFER, json={"inputs": inputs})

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem["error"] == problem["detail"]
    assert shared_model.batches == []


def test_pixels_of_another_size_are_told_the_models(shared_client: FlaskClient) -> None:
    inputs = [tensor("UINT8", 1, 16, 8, 3, data=[0] * 384)]

    detail = shared_client.post(INFER, json={"inputs": inputs}).get_json()["detail"]

    assert "images of 16 x 8 pixels (height x width), the model takes 32 x 32" in detail


def test_data_may_be_nested_as_the_shape_is(shared_client: FlaskClient) -> None:
    pixels = decode_image(noise(7), (32, 32))
    shape = (2, 32, 32, 3)

    flat = infer(
        shared_client, tensor("UINT8", *shape, data=pixels.ravel().tolist() * 2)
    )
    nested = infer(shared_client, tensor("UINT8", *shape, data=[pixels.tolist()] * 2))
    texts = infer(
        shared_client, tensor("BYTES", 2, 1, data=[[b64(grey(9))], [b64(grey(8))]])
    )

    assert nested.status_code == texts.status_code == 200
    assert nested.get_json()["outputs"] == flat.get_json()["outputs"]


ROW: list[Any] = [[0, 0, 0]] * 2
RAGGED: dict[str, tuple[list[int], Any, str]] = {
    "a short row": ([1, 2, 2, 3], [[ROW, ROW[:1]]], "data[0][1] is 1 entries"),
    "a long pixel": (
        [1, 1, 2, 3],
        [[[[0, 0, 0], [0] * 4]]],
        "data[0][0][1] is 4 entries",
    ),
    "too shallow": ([1, 1, 2, 3], ROW, "data is 2 entries, not a list of 1"),
    "not to the end": (
        [1, 1, 1, 3],
        [[[0, 0, 0]]],
        "data[0][0] is 3 entries, not a list of 1",
    ),
    "too deep": ([1, 1, 1, 3], [[[[[0], [0], [0]]]]], "whole numbers from 0 to 255"),
    "mixed": ([2, 1, 1, 3], [[[[0, 0, 0]]], 5], "data[1] is 5"),
    "a number among texts": ([2, 1], [["AAAA"], "AAAA"], "data[1] is 'AAAA'"),
    "no list": ([1, 1, 1, 3], {"a": 1}, "data is not a list"),
}


@pytest.mark.parametrize("case", RAGGED)
def test_data_that_do_not_fit_the_shape_are_refused_by_where(
    shared_client: FlaskClient, case: str
) -> None:
    shape, data, reason = RAGGED[case]
    datatype = "UINT8" if len(shape) == 4 else "BYTES"

    response = infer(shared_client, tensor(datatype, *shape, data=data))

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (422, "invalid_parameter")
    assert reason in problem["detail"]


@pytest.mark.parametrize("path", ["/v2/models/pets", "/v2/models/pets/versions/1"])
def test_configuration_and_statistics_tell_what_is_true(
    client: FlaskClient, path: str
) -> None:
    post_image(client, grey(9))
    post_image(client, b"no image")
    infer(client, tensor("BYTES", 2, data=[b64(grey(9))] * 2))

    config = client.get(f"{path}/config").get_json()
    [stats] = client.get(f"{path}/stats").get_json()["model_stats"]

    assert (config["name"], config["max_batch_size"]) == ("pets", 64)
    assert config["input"] == [
        {"name": "images", "data_type": "TYPE_STRING", "dims": [1]}
    ]
    assert [each["dims"] for each in config["output"]] == [[2], [2]]
    assert (stats["name"], stats["version"]) == ("pets", "1")
    assert stats["inference_count"] == 3
    assert stats["inference_stats"]["success"] == {"count": 2}


@pytest.mark.parametrize("what", ["config", "stats", "ready", "infer"])
def test_unknown_model_and_version_are_not_found(
    shared_client: FlaskClient, what: str
) -> None:
    send = shared_client.post if what == "infer" else shared_client.get
    options = {"json": {"inputs": [tensor("BYTES", 1, data=[b64(grey(9))])]}}
    given: Any = options if what == "infer" else {}

    assert send(f"/v2/models/cows/{what}", **given).status_code == 404
    assert send(f"/v2/models/pets/versions/7/{what}", **given).status_code in {404, 503}


def test_index_lists_versions_with_their_states(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.loading, served.broken = (1,), (2,), {3: "no graph"}

    everything = client.post("/v2/repository/index").get_json()
    ready = client.post("/v2/repository/index", json={"ready": True}).get_json()

    states = {each["version"]: each["state"] for each in everything}
    assert states == {"1": "READY", "2": "LOADING", "3": "UNAVAILABLE"}
    reason = next(each["reason"] for each in everything if each["version"] == "3")
    assert "cannot be loaded" in reason
    assert ready == [{"name": "pets", "version": "1", "state": "READY", "reason": ""}]
    for body in ("[]", "x", '{"colour": 1}'):
        response = client.post("/v2/repository/index", data=body)
        assert response.status_code in {400, 422}


@pytest.mark.parametrize(
    "members",
    [
        {"outputs": "logits"},
        {"outputs": [{"name": "softmax"}]},
        {"outputs": [{"name": []}]},
        {"outputs": ["logits"]},
        {"outputs": [{"name": "logits"}] * 2},
        {"outputs": [{"name": "logits", "parameters": {"classification": 2}}]},
        {"outputs": [{"name": "logits", "parameters": {"shared_memory_region": "a"}}]},
        {"id": 7},
        {"parameters": []},
        {"colour": "red"},
    ],
    ids=str,
)
def test_member_is_refused(shared_client: FlaskClient, members: dict[str, Any]) -> None:
    response = infer(shared_client, tensor("BYTES", 1, data=[b64(grey(9))]), **members)

    assert response.get_json()["code"] == "invalid_parameter"


@pytest.mark.parametrize("packed", [pack(b"ab")[:-1], b"\x00", pack(b"a") + b"\x01"])
def test_cut_off_bytes_are_refused(shared_client: FlaskClient, packed: bytes) -> None:
    response = infer_binary(shared_client, tensor("BYTES", 1), packed)

    assert response.get_json()["code"] == "invalid_parameter"


@pytest.mark.parametrize("length", ["-1", "9999", "x"])
def test_impossible_length_is_refused(shared_client: FlaskClient, length: str) -> None:
    response = shared_client.post(INFER, data=b"{}", headers={HEADER: length})

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
