"""Conformance of model servers: `make conformance MODEL_SERVER=host:port MODEL=m`.

The expectations were read off a real TensorFlow Serving 2.20. They hold for every
network that `kennel export` publishes, in 32, 16 or 8 bits: the server has to have been
started with the flags of `kennel serving-config`. Without MODEL_SERVER they are held
against the embedded server and, as strict as TensorFlow Serving, with networks of two
kinds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from models.contract import (
    CARD_OUTPUT,
    CLASSES_INPUT,
    DESCRIBE_SIGNATURE,
    ENCODED_SIGNATURE,
    EXPLAIN_SIGNATURE,
    IMAGES_INPUT,
    LOGITS_OUTPUT,
    PROBABILITIES_OUTPUT,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
    ModelCard,
)
from models.images.codec import decode_image
from models.wire import protos
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef, from_tensor, to_string_tensor, to_tensor
from tests.models.conftest import RunningServer
from tests.pictures import encoded, grey, noise

pytestmark = pytest.mark.tensorflow

TIMEOUT_SECONDS = 30

REFUSED = {"ABORTED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "INTERNAL", "UNKNOWN"}

NAMED = "MODEL_SERVER"
EMBEDDED = ("embedded", "strict, any size", "strict, one size")


@pytest.fixture(params=[NAMED] if NAMED in os.environ else EMBEDDED)
def server(request: pytest.FixtureRequest) -> RunningServer:
    if "strict" not in request.param:
        found: RunningServer = request.getfixturevalue("embedded_server")
        return found
    strict: RunningServer = request.getfixturevalue("strict_server")
    return replace(strict, model="pets" if "any size" in request.param else "rows")


@pytest.fixture
def client(server: RunningServer) -> Iterator[ModelServerClient]:
    with ModelServerClient(server.target, timeout_seconds=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as channel:
        yield channel


@pytest.fixture
def card(client: ModelServerClient, server: RunningServer) -> ModelCard:
    return client.describe(ModelRef(server.model))


@pytest.fixture
def batch(card: ModelCard) -> Any:
    height, width = card.image_size
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (2, height, width, 3), dtype=np.uint8)


@pytest.fixture
def request_message(server: RunningServer, batch: Any) -> Any:
    request = protos.PredictRequest()
    request.model_spec.name = server.model
    request.model_spec.signature_name = SERVING_SIGNATURE
    request.inputs[IMAGES_INPUT].CopyFrom(to_tensor(batch))
    return request


def predict(channel: grpc.Channel, request: Any) -> Any:
    stub = protos.prediction_service.PredictionServiceStub(channel)
    return stub.Predict(request, timeout=TIMEOUT_SECONDS)


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def test_prediction_names_outputs_and_effective_version(
    channel: grpc.Channel, request_message: Any
) -> None:
    response = predict(channel, request_message)

    assert set(response.outputs) == {PROBABILITIES_OUTPUT, LOGITS_OUTPUT}
    assert response.model_spec.version.value >= 1
    rows = from_tensor(response.outputs[PROBABILITIES_OUTPUT])
    assert rows.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_probabilities_are_softmax_of_logits_over_temperature(
    client: ModelServerClient, server: RunningServer, card: ModelCard, batch: Any
) -> None:
    from models.probabilities import softmax

    answer = client.predict(batch, ModelRef(server.model, card.version))

    expected = softmax(answer.logits, card.temperature)
    assert answer.probabilities == pytest.approx(expected, abs=1e-5)


def test_describe_answers_once_for_each_request(
    channel: grpc.Channel, server: RunningServer
) -> None:
    request = protos.PredictRequest()
    request.model_spec.name = server.model
    request.model_spec.signature_name = DESCRIBE_SIGNATURE
    request.inputs[REQUEST_INPUT].CopyFrom(to_tensor(np.zeros(3, np.int32)))

    cards = from_tensor(predict(channel, request).outputs[CARD_OUTPUT])

    assert cards.shape == (3,)
    assert len(set(cards)) == 1


def test_encoded_agrees_with_pixels_to_its_tolerance(
    channel: grpc.Channel,
    client: ModelServerClient,
    server: RunningServer,
    card: ModelCard,
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    shades = Image.linear_gradient("L")
    images = [
        *(grey(40, (64, 64)), noise(3, (90, 70))),
        encoded(shades, "JPEG", exif=turned),
        encoded(Image.merge("LA", (Image.new("L", (256, 256)), shades))),
    ]
    request = protos.PredictRequest()
    request.model_spec.name = server.model
    request.model_spec.signature_name = ENCODED_SIGNATURE
    request.inputs[IMAGES_INPUT].CopyFrom(to_string_tensor(images))

    answered = from_tensor(predict(channel, request).outputs[PROBABILITIES_OUTPUT])

    pixels = np.stack([decode_image(image, card.image_size) for image in images])
    direct = client.predict(pixels, ModelRef(server.model)).probabilities
    assert answered == pytest.approx(direct, abs=0.02)


def only_explaining(card: ModelCard) -> None:
    if not card.explains:
        pytest.skip("this network has no explain signature")


def test_explanation_is_of_the_classes_asked_for(
    client: ModelServerClient, server: RunningServer, card: ModelCard, batch: Any
) -> None:
    only_explaining(card)
    best = client.predict(batch, ModelRef(server.model)).probabilities.argmax(axis=1)

    answer = client.explain(batch, np.array([-1, 0], np.int32), ModelRef(server.model))

    assert answer.classes.tolist() == [best[0], 0]
    assert answer.heatmaps.ndim == 3
    assert answer.version >= 1


def test_concurrent_explanations_are_not_mixed_up(
    client: ModelServerClient, server: RunningServer, card: ModelCard
) -> None:
    only_explaining(card)
    model, last = ModelRef(server.model), np.array([1], np.int32)
    height, width = card.image_size
    lit = np.zeros((16, 1, height, width, 3), np.uint8)
    for number, image in enumerate(lit):
        top, left = number // 4 * height // 4, number % 4 * width // 4
        image[0, top : top + height // 4, left : left + width // 4] = 255
    alone = [client.explain(each, last, model).heatmaps for each in lit]

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda each: client.explain(each, last, model), lit))

    for expected, answer in zip(alone, together, strict=True):
        assert answer.heatmaps == pytest.approx(expected, abs=0.05)


def test_one_value_stands_for_a_whole_tensor(
    channel: grpc.Channel, request_message: Any, batch: Any
) -> None:
    full = np.zeros_like(batch)
    request_message.inputs[IMAGES_INPUT].CopyFrom(to_tensor(full))
    expected = from_tensor(
        predict(channel, request_message).outputs[PROBABILITIES_OUTPUT]
    )
    tensor = request_message.inputs[IMAGES_INPUT]
    tensor.ClearField("tensor_content")
    tensor.int_val.append(0)

    answer = from_tensor(
        predict(channel, request_message).outputs[PROBABILITIES_OUTPUT]
    )

    assert answer == pytest.approx(expected, abs=1e-6)


def test_output_filter_limits_the_answer(
    channel: grpc.Channel, request_message: Any
) -> None:
    request_message.output_filter.append(LOGITS_OUTPUT)

    assert set(predict(channel, request_message).outputs) == {LOGITS_OUTPUT}


def _unknown_model(request: Any) -> None:
    request.model_spec.name = "no-such-model"


def _unknown_version(request: Any) -> None:
    request.model_spec.version.value = 999_999


def _unknown_signature(request: Any) -> None:
    request.model_spec.signature_name = "no_such_signature"


def _unknown_label(request: Any) -> None:
    request.model_spec.version_label = "no-such-label"


def _no_model_spec(request: Any) -> None:
    request.ClearField("model_spec")


def _empty_name(request: Any) -> None:
    request.model_spec.name = ""


def _wrong_alias(request: Any) -> None:
    request.inputs["photos"].CopyFrom(request.inputs[IMAGES_INPUT])
    del request.inputs[IMAGES_INPUT]


def _extra_input(request: Any) -> None:
    request.inputs["photos"].CopyFrom(request.inputs[IMAGES_INPUT])


def _wrong_dtype(request: Any) -> None:
    pixels = from_tensor(request.inputs[IMAGES_INPUT]).astype(np.float32)
    request.inputs[IMAGES_INPUT].CopyFrom(to_tensor(pixels))


def _bad_filter(request: Any) -> None:
    request.output_filter.append("no_such_output")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_unknown_model, "NOT_FOUND"),
        (_unknown_version, "NOT_FOUND"),
        (_unknown_signature, "FAILED_PRECONDITION"),
        (_unknown_label, "INVALID_ARGUMENT"),
        (_no_model_spec, "INVALID_ARGUMENT"),
        (_empty_name, "INVALID_ARGUMENT"),
        (_wrong_alias, "INVALID_ARGUMENT"),
        (_extra_input, "INVALID_ARGUMENT"),
        (_wrong_dtype, "INVALID_ARGUMENT"),
        (_bad_filter, "INVALID_ARGUMENT"),
    ],
    ids=lambda value: getattr(value, "__name__", value).strip("_"),
)
def test_bad_request_gets_its_code(
    channel: grpc.Channel,
    request_message: Any,
    spoil: Callable[[Any], None],
    code: str,
) -> None:
    spoil(request_message)

    assert code_of(lambda: predict(channel, request_message)).name == code


def test_explanation_of_more_classes_than_images_is_invalid(
    channel: grpc.Channel, card: ModelCard, request_message: Any
) -> None:
    only_explaining(card)
    request_message.model_spec.signature_name = EXPLAIN_SIGNATURE
    classes = request_message.inputs[CLASSES_INPUT]
    classes.CopyFrom(to_tensor(np.zeros(3, np.int32)))

    assert code_of(lambda: predict(channel, request_message)).name == "INVALID_ARGUMENT"


def rows_or_code(channel: grpc.Channel, request: Any) -> int | str:
    try:
        response = predict(channel, request)
    except grpc.RpcError as error:
        return str(error.code().name)
    return len(from_tensor(response.outputs[LOGITS_OUTPUT]))


def test_image_of_another_size_is_its_senders_problem_alone(
    channel: grpc.Channel, request_message: Any, batch: Any
) -> None:
    """A server may take it, if the network does, or refuse it."""
    expected = predict(channel, request_message).outputs[LOGITS_OUTPUT]
    half = batch[:, : batch.shape[1] // 2]
    wrong = protos.PredictRequest()
    wrong.CopyFrom(request_message)
    wrong.inputs[IMAGES_INPUT].CopyFrom(to_tensor(half))

    outcome = rows_or_code(channel, wrong)
    assert outcome == len(half) or outcome in REFUSED
    again = predict(channel, request_message).outputs[LOGITS_OUTPUT]
    assert from_tensor(again) == pytest.approx(from_tensor(expected), abs=1e-4)


def test_metadata_lists_the_three_signatures(
    channel: grpc.Channel, server: RunningServer
) -> None:
    request = protos.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = server.model
    stub = protos.prediction_service.PredictionServiceStub(channel)

    response = stub.GetModelMetadata(request, timeout=TIMEOUT_SECONDS)

    found = protos.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    assert {SERVING_SIGNATURE, ENCODED_SIGNATURE, DESCRIBE_SIGNATURE} <= set(
        found.signature_def
    )
    images = found.signature_def[SERVING_SIGNATURE].inputs[IMAGES_INPUT]
    assert images.dtype == protos.types.DT_UINT8


def test_metadata_without_a_field_is_invalid(
    channel: grpc.Channel, server: RunningServer
) -> None:
    request = protos.GetModelMetadataRequest()
    request.model_spec.name = server.model
    stub = protos.prediction_service.PredictionServiceStub(channel)

    assert (
        code_of(lambda: stub.GetModelMetadata(request, timeout=TIMEOUT_SECONDS)).name
        == "INVALID_ARGUMENT"
    )


@pytest.mark.parametrize(
    ("model", "version"), [("no-such-model", None), (None, 999_999)]
)
def test_status_of_the_unknown_is_not_found(
    channel: grpc.Channel,
    server: RunningServer,
    model: str | None,
    version: int | None,
) -> None:
    request = protos.GetModelStatusRequest()
    request.model_spec.name = model or server.model
    if version is not None:
        request.model_spec.version.value = version
    stub = protos.model_service.ModelServiceStub(channel)

    call = code_of(lambda: stub.GetModelStatus(request, timeout=TIMEOUT_SECONDS))

    assert call.name == "NOT_FOUND"


def test_concurrent_requests_are_not_mixed_up(
    client: ModelServerClient, server: RunningServer, batch: Any
) -> None:
    model = ModelRef(server.model)
    shape = (1, *batch.shape[1:])
    batches = [np.full(shape, level, np.uint8) for level in range(0, 256, 8)]
    alone = np.array([client.predict(each, model).logits for each in batches])

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda each: client.predict(each, model), batches))

    # In 8 or 16 bits the last digits depend on how many are computed together.
    allowed = 0.02 * float(np.abs(alone).max())
    for expected, answer in zip(alone, together, strict=True):
        assert answer.logits == pytest.approx(expected, abs=allowed)
