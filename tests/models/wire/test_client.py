"""The client of a model server: calls, deadlines, errors, several servers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import grpc
import numpy as np
import pytest

from models.errors import (
    KennelError,
    MissingSignatureError,
    MixedBatchError,
    ModelContractError,
    ModelOverloadedError,
    ModelTimeoutError,
    ModelUnavailableError,
    NotFoundError,
)
from models.wire.client import CALL_ATTEMPTS, STATUS_ERRORS, ModelServerClient
from models.wire.messages import (
    ModelRef,
)
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
    model_server.refusals.extend([(code, text)] * CALL_ATTEMPTS)

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
