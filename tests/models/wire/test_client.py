"""The client of a model server: calls, deadlines, errors, and several servers at one address."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import grpc
import numpy as np
import pytest

from models.contract import ModelCard
from models.environment import ModelAddress, parse_model_address
from models.errors import (
    InvalidRequestError,
    KennelError,
    MissingSignatureError,
    MixedBatchError,
    ModelContractError,
    ModelOverloadedError,
    ModelTimeoutError,
    ModelUnavailableError,
    NotFoundError,
)
from models.wire.client import MAX_ATTEMPTS, STATUS_ERRORS, ModelServerClient
from models.wire.config import (
    check_model_name,
    default_entry,
    published_models,
    published_versions,
    read_model_config,
    render_entries,
)
from models.wire.messages import (
    Explanation,
    ModelRef,
    check_explanation,
    from_tensor,
    images_request,
    to_string_tensor,
    to_tensor,
)
from models.wire.protos import PredictRequest, TensorProto, types
from tests.fake_model_server import (
    CARD,
    DIFFERENT_SHAPES,
    QUEUE_FULL,
    FakeModelServer,
)
from tests.models.wire.name_server import NameServer
from tests.processes import wait_until

PETS = ModelRef("pets")
PIXELS = np.full((3, 32, 32, 3), 51, np.uint8)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int32", "int64", "float32", "float64", "bool"]
)
def test_array_survives_the_wire(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)

    assert (from_tensor(to_tensor(array)) == array).all()


def test_strings_survive_the_wire() -> None:
    assert list(from_tensor(to_string_tensor([b"a", b"\xff"]))) == [b"a", b"\xff"]


def test_one_value_fills_the_shape() -> None:
    tensor = TensorProto(dtype=types.DT_FLOAT, float_val=[0.5])
    for size in (2, 3):
        tensor.tensor_shape.dim.add(size=size)

    assert (from_tensor(tensor) == np.full((2, 3), 0.5)).all()


def test_tensor_that_does_not_fill_its_shape_breaks_the_contract() -> None:
    tensor = to_tensor(np.zeros(4, np.float32))
    tensor.tensor_content = tensor.tensor_content[:-1]

    with pytest.raises(ModelContractError, match="holds 15 bytes"):
        from_tensor(tensor)


def test_card_survives_json_and_ignores_what_it_does_not_know() -> None:
    text = CARD.to_json().replace('"schema": 1', '"schema": 1, "colour": "red"')

    assert ModelCard.from_json(text) == CARD


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}"),
        CARD.to_json().replace('"schema": 1', '"schema": 2'),
        replace(CARD, image_size=(0, 32)).to_json(),
    ],
)
def test_card_that_cannot_be_read_breaks_the_contract(text: str) -> None:
    with pytest.raises(ModelContractError, match="export it again"):
        ModelCard.from_json(text)


def test_labels_of_a_card_are_in_one_unicode_form() -> None:
    text = CARD.to_json().replace(CARD.labels[0], "cafe\u0301 ")

    assert ModelCard.from_json(text).labels[0] == "caf\xe9"


def test_every_status_code_has_an_error() -> None:
    assert set(STATUS_ERRORS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, ModelUnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ModelOverloadedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ModelTimeoutError),
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.INVALID_ARGUMENT, ModelContractError),
        (grpc.StatusCode.INTERNAL, ModelContractError),
    ],
)
def test_status_code_becomes_our_error(
    model_server: FakeModelServer,
    code: grpc.StatusCode,
    error: type[Exception],
) -> None:
    model_server.failure = code

    with ModelServerClient(model_server.target) as client, pytest.raises(error):
        client.predict(PIXELS, PETS)


Code = grpc.StatusCode
KERNEL = "{{function_node __inference_queued_12}} "
"""What TensorFlow puts before the words of its batch function."""


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (Code.UNAVAILABLE, QUEUE_FULL, ModelOverloadedError),
        (Code.UNAVAILABLE, KERNEL + QUEUE_FULL, ModelOverloadedError),
        (
            Code.UNAVAILABLE,
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 8 batches enqueued and max_enqueued_batches is 8",
            ModelOverloadedError,
        ),
        (Code.UNAVAILABLE, "The batch scheduling queue is full", ModelOverloadedError),
        (
            Code.UNAVAILABLE,
            "The low priority task queue to which this task was submitted does not "
            "have the capacity to handle this task; currently the low priority queue "
            "has 8 tasks enqueued and the submitted task size is 1",
            ModelOverloadedError,
        ),
        (Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted", ModelOverloadedError),
        (
            Code.RESOURCE_EXHAUSTED,
            "Run() timeout exceeded while waiting in batching queue",
            ModelOverloadedError,
        ),
        (
            Code.RESOURCE_EXHAUSTED,
            "SERVER: Received message larger than max (38535210 vs. 4194304)",
            ModelContractError,
        ),
        (Code.UNAVAILABLE, "Connection refused", ModelUnavailableError),
        (Code.FAILED_PRECONDITION, DIFFERENT_SHAPES, MixedBatchError),
        (
            Code.INVALID_ARGUMENT,
            f"{KERNEL}Dimensions of inputs should match: shape[0] = [1,9,9,3] vs. "
            "shape[1] = [1,8,8,3]",
            MixedBatchError,
        ),
        (
            Code.INVALID_ARGUMENT,
            "ConcatOp : Dimensions of inputs should match: shape[0] = [1,7,7,8] vs. "
            "shape[1] = [1,3,3,8]",
            ModelContractError,
        ),
    ],
)
def test_texts_tell_overload_and_mixed_batches_apart(
    model_server: FakeModelServer, code: Code, text: str, error: type[Exception]
) -> None:
    model_server.refusals.extend([(code, text)] * MAX_ATTEMPTS)

    with (
        ModelServerClient(model_server.target) as client,
        pytest.raises(KennelError) as raised,
    ):
        client.predict(PIXELS, PETS)

    assert raised.type is error
    assert text in str(raised.value)


def test_slow_server_meets_the_deadline(model_server: FakeModelServer) -> None:
    model_server.delay_seconds = 2

    with (
        ModelServerClient(model_server.target) as client,
        pytest.raises(ModelTimeoutError),
    ):
        client.predict(PIXELS, PETS, timeout_seconds=0.1)


def test_server_that_comes_back_answers_the_first_call_of_every_client(
    model_server: FakeModelServer,
) -> None:
    """However long it was away: processes behind one address are ready together."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(ModelServerClient(model_server.target))
            for _ in range(8)
        ]
        for client in clients:
            client.predict(PIXELS, PETS)
        model_server.stop()
        for client in clients:
            with pytest.raises(ModelUnavailableError):
                client.predict(PIXELS, PETS)
        model_server.start()
        pool = stack.enter_context(ThreadPoolExecutor(len(clients)))
        answers = list(pool.map(lambda each: each.predict(PIXELS, PETS), clients))

    assert [answer.version for answer in answers] == [1] * len(clients)


def test_many_images_are_sent_in_parts_to_one_version(
    model_server: FakeModelServer,
) -> None:
    levels = np.arange(70, dtype=np.uint8)
    batch = np.broadcast_to(levels[:, None, None, None], (70, 32, 32, 3)).copy()

    with ModelServerClient(model_server.target) as client:
        answer = client.predict(batch, PETS)

    assert model_server.batches == [32, 32, 6]
    assert answer.probabilities[:, 1] == pytest.approx(levels / 255, abs=1e-6)


@pytest.mark.parametrize(("count", "side"), [(1, 1), (1, 224), (3, 32), (32, 7)])
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "pets"},
        {"name": "pets", "version": {"value": 2**40}},
        {"name": "pets", "version_label": "canary"},
    ],
)
def test_request_made_by_hand_is_protobufs_byte_for_byte(
    spec: dict[str, Any], count: int, side: int
) -> None:
    spec["signature_name"] = "serving_default"
    batch = np.random.default_rng(count).integers(
        0, 256, (count, side, side + 1, 3), np.uint8
    )

    request = PredictRequest(model_spec=spec, inputs={"images": to_tensor(batch)})

    assert images_request(request.model_spec, batch) == request.SerializeToString()
    assert images_request(request.model_spec, list(batch[:, ::-1])) == images_request(
        request.model_spec, batch[:, ::-1].copy()
    )


@pytest.mark.parametrize(
    "batch",
    [
        PIXELS[0],
        PIXELS.astype(np.float32),
        PIXELS[..., :1],
        PIXELS[:0],
        [PIXELS[0], PIXELS[0, 1:]],
        PIXELS[:, :0],
        PIXELS[:, :, :0],
        PIXELS[None],
    ],
)
def test_batch_that_could_hurt_the_server_never_leaves(
    model_server: FakeModelServer,
    batch: np.ndarray,
) -> None:
    with (
        ModelServerClient(model_server.target) as client,
        pytest.raises(ModelContractError),
    ):
        client.predict(batch, PETS)
    with (
        ModelServerClient(model_server.target) as client,
        pytest.raises(ModelContractError),
    ):
        client.explain(batch, np.zeros(len(batch), np.int32), PETS)

    assert model_server.batches == []


def test_explanation_comes_whole(model_server: FakeModelServer) -> None:
    with ModelServerClient(model_server.target) as client:
        answer = client.explain(PIXELS, np.array([-1, 1, 0], np.int32), PETS)

    assert answer.classes.tolist() == [0, 1, 0]
    assert answer.heatmaps.shape == (3, 4, 4)
    assert answer.probabilities[:, 1] == pytest.approx([0.2] * 3, abs=1e-6)
    assert answer.version == 1


@pytest.mark.parametrize("classes", [[0], [[0, 0, 0]], [0.0] * 3, [-2, 0, 0]])
def test_classes_that_do_not_fit_never_leave(
    model_server: FakeModelServer, classes: list[float]
) -> None:
    array = np.array(classes)
    array = array.astype(np.int32) if array.dtype == np.int64 else array

    with (
        ModelServerClient(model_server.target) as client,
        pytest.raises(ModelContractError),
    ):
        client.explain(PIXELS, array, PETS)

    assert model_server.batches == []


def test_one_call_explains_no_more_than_a_batch(model_server: FakeModelServer) -> None:
    many = np.repeat(PIXELS, 11, axis=0)

    with (
        ModelServerClient(model_server.target) as client,
        pytest.raises(ModelContractError, match="32 go into one call"),
    ):
        client.explain(many, np.zeros(33, np.int32), PETS)


def test_version_without_explanations_says_what_to_do(
    model_server: FakeModelServer,
) -> None:
    model_server.explains = False

    with (
        ModelServerClient(model_server.target) as client,
        pytest.raises(MissingSignatureError, match="export it again") as missing,
    ):
        client.explain(PIXELS, np.zeros(3, np.int32), PETS)
    assert missing.value.code == "not_implemented"


@pytest.mark.parametrize(
    "change",
    [
        {"heatmaps": np.zeros((2, 4, 4), np.float32)},
        {"heatmaps": np.zeros((1, 4), np.float32)},
        {"heatmaps": np.full((1, 4, 4), np.nan, np.float32)},
        {"heatmaps": np.full((1, 4, 4), 2, np.float32)},
        {"classes": np.array([0], np.int32)},
    ],
    ids=["count", "rank", "nan", "range", "class"],
)
def test_explanation_of_something_else_breaks_the_contract(
    change: dict[str, Any],
) -> None:
    answer = Explanation(
        np.zeros((1, 4, 4), np.float32),
        np.array([[0.2, 0.8]], np.float32),
        np.zeros((1, 2), np.float32),
        np.array([1], np.int32),
        version=1,
    )
    check_explanation(answer, np.array([-1], np.int32))

    with pytest.raises(ModelContractError):
        check_explanation(replace(answer, **change), np.array([-1], np.int32))


def test_description_takes_name_and_version_from_the_server(
    model_server: FakeModelServer,
) -> None:
    model_server.versions = (1, 4)

    with ModelServerClient(model_server.target) as client:
        assert client.describe(PETS) == replace(CARD, version=4)


def test_client_imports_no_tensorflow_and_leaves_it_usable() -> None:
    program = (
        "import sys, models.wire.client\n"
        "assert 'tensorflow' not in sys.modules\n"
        "import importlib.util as u\n"
        "assert u.find_spec('tensorflow').origin is not None"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_model_configuration_is_read_as_written(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    entries = [default_entry(name, PurePath("/models")) for name in ("cats", "pets")]
    file.write_text(render_entries(entries))

    entries = read_model_config(file)

    assert [entry.name for entry in entries] == ["cats", "pets"]
    assert entries[1].base_path == Path("/models/pets")
    assert entries[1].versions_kept == 2
    file.write_text("model_config_list { nonsense: 1 }")
    with pytest.raises(InvalidRequestError, match="not a model server configuration"):
        read_model_config(file)


def test_only_numbered_folders_are_versions(tmp_path: Path) -> None:
    for name in ("1", "10", "2", "0", "-3", "x", ".tmp-4"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    (tmp_path / "empty").mkdir()

    assert published_versions(tmp_path / "pets") == [10, 2, 1]
    assert published_models(tmp_path) == ["pets"]


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "x" * 65, "a\0"])
def test_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not possible"):
        check_model_name(name)


ONE_IMAGE = np.full((1, 32, 32, 3), 51, np.uint8)
VGG16_BATCH = np.full((32, 224, 224, 3), 51, np.uint8)


@pytest.fixture
def servers() -> Iterator[list[FakeModelServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeModelServer()) for _ in range(2)]


@pytest.fixture
def client(servers: list[FakeModelServer]) -> Iterator[ModelServerClient]:
    """Of both, once it is connected to both."""
    with ModelServerClient(",".join(each.target for each in servers)) as client:

        def both_answer() -> bool:
            client.predict(ONE_IMAGE, PETS)
            return all(each.batches for each in servers)

        wait_until(both_answer, "both have answered")
        for each in servers:
            each.batches.clear()
        yield client


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8500", ModelAddress("127.0.0.1:8500", may_be_several=False)),
        ("[::1]:8500", ModelAddress("[::1]:8500", may_be_several=False)),
        ("models:8500", ModelAddress("models:8500", may_be_several=True)),
        ("dns:///models:1", ModelAddress("dns:///models:1", may_be_several=True)),
        ("10.0.0.1:1,10.0.0.2:1", ModelAddress("ipv4:10.0.0.1:1,10.0.0.2:1", True)),
        ("[::1]:1,[::2]:1", ModelAddress("ipv6:[::1]:1,[::2]:1", True)),
    ],
)
def test_address_names_one_server_or_several(text: str, address: ModelAddress) -> None:
    assert parse_model_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["models", "http://models:8500", "a:1,b:1", "10.0.0.1:1,[::1]:1", "10.0.0.1:1,"],
)
def test_address_that_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"one name|is not host:port"):
        parse_model_address(text)


def test_calls_take_turns(
    client: ModelServerClient, servers: list[FakeModelServer]
) -> None:
    for _ in range(20):
        client.predict(ONE_IMAGE, PETS)

    assert [len(each.batches) for each in servers] == [10, 10]


def test_call_that_one_server_cannot_take_is_answered_by_the_other(
    client: ModelServerClient, servers: list[FakeModelServer]
) -> None:
    servers[0].failure = grpc.StatusCode.UNAVAILABLE

    for _ in range(4):
        # Five megabytes: far more than gRPC keeps for another try by itself.
        client.predict(VGG16_BATCH, PETS, timeout_seconds=30)

    assert servers[1].batches == [32] * 4


def test_tries_end_with_the_deadline(
    client: ModelServerClient, servers: list[FakeModelServer]
) -> None:
    for each in servers:
        each.failure = grpc.StatusCode.UNAVAILABLE

    started = time.monotonic()
    with pytest.raises(ModelUnavailableError):
        client.predict(ONE_IMAGE, PETS, timeout_seconds=0.02)

    # The first pause alone would take 0.1 s; on a busy machine anything takes long.
    assert time.monotonic() - started < 1


def test_version_that_only_one_server_has_is_asked_of_that_one(
    client: ModelServerClient, servers: list[FakeModelServer]
) -> None:
    servers[1].versions = (1, 2)
    pinned = ModelRef("pets", version=2)

    answers = [client.predict(ONE_IMAGE, pinned) for _ in range(10)]

    assert {each.version for each in answers} == {2}
    assert client.describe(pinned).version == 2


def test_version_that_no_server_has_is_not_found(client: ModelServerClient) -> None:
    with pytest.raises(NotFoundError, match="version 7"):
        client.predict(ONE_IMAGE, ModelRef("pets", version=7))


def test_server_that_is_added_to_the_name_gets_its_turns() -> None:
    with FakeModelServer(max_connection_seconds=1) as first, NameServer() as names:
        names.addresses = ["127.0.0.1"]
        target = f"dns://{names.address}/model-server:{first.port}"
        second = FakeModelServer(CARD, port=first.port, host="127.0.0.2")
        with ModelServerClient(target) as client, second:
            client.predict(ONE_IMAGE, PETS)
            names.addresses = ["127.0.0.1", "127.0.0.2"]

            def found() -> bool:
                client.predict(ONE_IMAGE, PETS)
                return bool(second.batches)

            wait_until(found, "the new server answers")


def test_server_that_moves_to_another_address_is_found() -> None:
    with FakeModelServer() as first, NameServer() as names:
        names.addresses = ["127.0.0.1"]
        target = f"dns://{names.address}/model-server:{first.port}"
        with ModelServerClient(target) as client:
            client.predict(ONE_IMAGE, PETS)
            names.addresses = ["127.0.0.3"]
            first.stop()

            with FakeModelServer(CARD, port=first.port, host="127.0.0.3"):
                wait_until(lambda: _answers(client), "the successor answers")


def _answers(client: ModelServerClient) -> bool:
    try:
        client.predict(ONE_IMAGE, PETS)
    except ModelUnavailableError:
        return False
    return True
