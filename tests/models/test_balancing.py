"""Several model servers behind one address: turns, successors, second tries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import numpy as np
import pytest

from models.errors import (
    InvalidRequestError,
    ModelUnavailableError,
    NotFoundError,
)
from models.model_address import ModelAddress, parse_model_address
from models.wire.client import ModelServerClient
from models.wire.model_ref import ModelRef
from tests.fake_model_server import CARD, FakeModelServer
from tests.models.name_server import NameServer
from tests.processes import wait_until

PETS = ModelRef("pets")
PIXELS = np.full((1, 32, 32, 3), 51, np.uint8)
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
            client.predict(PIXELS, PETS)
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
        client.predict(PIXELS, PETS)

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
        client.predict(PIXELS, PETS, timeout_seconds=0.02)

    # The first pause alone would take 0.1 s; on a busy machine anything takes long.
    assert time.monotonic() - started < 1


def test_version_that_only_one_server_has_is_asked_of_that_one(
    client: ModelServerClient, servers: list[FakeModelServer]
) -> None:
    servers[1].versions = (1, 2)
    pinned = ModelRef("pets", version=2)

    answers = [client.predict(PIXELS, pinned) for _ in range(10)]

    assert {each.version for each in answers} == {2}
    assert client.describe(pinned).version == 2


def test_version_that_no_server_has_is_not_found(client: ModelServerClient) -> None:
    with pytest.raises(NotFoundError, match="version 7"):
        client.predict(PIXELS, ModelRef("pets", version=7))


def test_server_that_is_added_to_the_name_gets_its_turns() -> None:
    with FakeModelServer(max_connection_seconds=1) as first, NameServer() as names:
        names.addresses = ["127.0.0.1"]
        target = f"dns://{names.address}/model-server:{first.port}"
        second = FakeModelServer(CARD, port=first.port, host="127.0.0.2")
        with ModelServerClient(target) as client, second:
            client.predict(PIXELS, PETS)
            names.addresses = ["127.0.0.1", "127.0.0.2"]

            def found() -> bool:
                client.predict(PIXELS, PETS)
                return bool(second.batches)

            wait_until(found, "the new server answers")


def test_server_that_moves_to_another_address_is_found() -> None:
    with FakeModelServer() as first, NameServer() as names:
        names.addresses = ["127.0.0.1"]
        target = f"dns://{names.address}/model-server:{first.port}"
        with ModelServerClient(target) as client:
            client.predict(PIXELS, PETS)
            names.addresses = ["127.0.0.3"]
            first.stop()

            with FakeModelServer(CARD, port=first.port, host="127.0.0.3"):
                wait_until(lambda: _answers(client), "the successor answers")


def _answers(client: ModelServerClient) -> bool:
    try:
        client.predict(PIXELS, PETS)
    except ModelUnavailableError:
        return False
    return True
