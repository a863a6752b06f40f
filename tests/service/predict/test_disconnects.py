"""Requests of closed connections are not computed, and delay nobody."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelTimeoutError
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef, Prediction
from service.http.budget import Budget, Disconnect, DisconnectWatcher
from service.http.errors import ClientGoneError
from service.predict.batching import Batcher, BatchQueues
from tests.pictures import grey
from tests.processes import wait_until
from tests.service.api_process import ApiProcess
from tests.service.served_model import HeldModel

PETS = ModelRef("pets")


class Requests:
    """Requests to one batcher, whose clients may disconnect."""

    def __init__(self, client: ModelServerClient, model: HeldModel) -> None:
        self.model = model
        self.batcher = Batcher(client, BatchQueues())
        self.pool = ThreadPoolExecutor(16)

    def send(
        self, count: int = 1, seconds: float = 20
    ) -> tuple[Future[Prediction], Disconnect]:
        disconnect = Disconnect()
        images = [np.zeros((32, 32, 3), np.uint8)] * count
        budget = Budget(seconds, disconnect)
        return self.pool.submit(self.batcher.predict, images, PETS, budget), disconnect

    def begin(self, count: int = 1) -> tuple[Future[Prediction], Disconnect]:
        """One whose call is under way."""
        asked = self.model.asked
        sent = self.send(count)
        wait_until(lambda: self.model.asked > asked, "the call is under way")
        return sent

    def waiting(self) -> int:
        return sum(self.batcher.queues.waiting().values())

    def learn(self) -> None:
        """That the model is slow."""
        answer, _ = self.begin()
        self.model.permits.release()
        answer.result(20)
        self.model.batches.clear()


@pytest.fixture
def requests(held: HeldModel) -> Iterator[Requests]:
    with ModelServerClient(held.target) as client:
        sent = Requests(client, held)
        yield sent
        held.permits.release(100)
        sent.pool.shutdown()


def assert_gone(answers: Sequence[Future[Prediction]]) -> None:
    for answer in answers:
        with pytest.raises(ClientGoneError):
            answer.result(20)


def test_images_that_wait_are_dropped(requests: Requests, held: HeldModel) -> None:
    first, _ = requests.begin()
    gone, disconnect = requests.send()
    wait_until(lambda: requests.waiting() == 1, "it waits")

    disconnect.notify()

    assert_gone([gone])
    held.permits.release()
    first.result(20)
    assert held.batches == [1]
    assert requests.batcher.queues.waiting() == {}


@pytest.mark.parametrize("count", [1, 9, 40])
def test_call_that_is_for_nobody_is_cancelled(
    requests: Requests, held: HeldModel, count: int
) -> None:
    gone, disconnect = requests.begin(count)

    disconnect.notify()

    assert_gone([gone])
    wait_until(lambda: held.cancelled == 1, "the call is cancelled")
    held.permits.release()
    answer, _ = requests.send()
    answer.result(20)
    assert held.batches == [1]


def test_shared_call_goes_on_while_anybody_waits(
    requests: Requests, held: HeldModel
) -> None:
    first, _ = requests.begin()
    shared = [requests.send() for _ in range(3)]
    wait_until(lambda: requests.waiting() == 3, "they wait")
    held.permits.release()
    wait_until(lambda: held.asked == 2, "the shared call is under way")

    for _, disconnect in shared[:2]:
        disconnect.notify()
    held.permits.release()

    first.result(20)
    shared[2][0].result(20)
    assert_gone([answer for answer, _ in shared[:2]])
    assert (held.batches, held.cancelled) == ([1, 3], 0)


def test_shared_call_ends_when_all_have_left(
    requests: Requests, held: HeldModel
) -> None:
    requests.begin()
    shared = [requests.send() for _ in range(3)]
    wait_until(lambda: requests.waiting() == 3, "they wait")
    held.permits.release()
    wait_until(lambda: held.asked == 2, "the shared call is under way")

    for _, disconnect in shared:
        disconnect.notify()

    assert_gone([answer for answer, _ in shared])
    wait_until(lambda: held.cancelled == 1, "the call is cancelled")


def test_request_that_is_gone_before_it_waits_is_never_sent(
    requests: Requests, held: HeldModel
) -> None:
    budget = Budget(20)
    budget.disconnect.notify()
    images = [np.zeros((32, 32, 3), np.uint8)]

    with pytest.raises(ClientGoneError):
        requests.batcher.predict(images, PETS, budget)

    assert held.asked == 0


def test_large_request_to_a_slow_model_is_left_between_its_pieces(
    requests: Requests, held: HeldModel
) -> None:
    requests.learn()
    gone, disconnect = requests.begin(64)
    held.permits.release(2)
    wait_until(lambda: held.asked == 4, "the third piece is under way")

    disconnect.notify()

    assert_gone([gone])
    wait_until(lambda: held.cancelled == 1, "that piece is cancelled")
    assert held.batches == [8, 8]


def test_piece_that_would_be_late_is_not_sent(
    requests: Requests, held: HeldModel
) -> None:
    requests.learn()
    held.delay_seconds = 0.6
    held.permits.release(100)
    late, _ = requests.send(64, seconds=1)

    with pytest.raises(ModelTimeoutError, match="8 of 64 images were answered"):
        late.result(20)

    assert held.batches == [8]


def test_connection_that_is_closed_is_told_once() -> None:
    ours, theirs = socket.socketpair()
    told = threading.Event()
    with (
        closing(ours),
        DisconnectWatcher().watching(ours) as disconnect,
        disconnect.calling(told.set),
    ):
        theirs.send(b"the next request")
        assert not told.wait(0.1)
        ours.recv(100)
        theirs.close()
        assert told.wait(20)

        with pytest.raises(ClientGoneError):
            disconnect.check()


def test_connection_is_watched_only_while_its_request_is_in_work() -> None:
    ours, theirs = socket.socketpair()
    told = threading.Event()
    disconnects = DisconnectWatcher()
    with closing(ours):
        with disconnects.watching(ours) as before:
            pass
        theirs.close()
        with disconnects.watching(ours) as now, now.calling(told.set):
            assert told.wait(20)

    before.check()


def begin(port: int, path: str, photos: int) -> http.client.HTTPConnection:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = (part + grey(9) + b"\r\n") * photos + b"--b--\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", path, body, kind)
    return connection


@pytest.fixture
def held_api(tmp_path: Path) -> Iterator[tuple[HeldModel, ApiProcess]]:
    # One for each test: a process that has seen quick answers cancels no short calls.
    with HeldModel() as model:
        api = ApiProcess(tmp_path, model.target, WEB_WORKERS="1")
        with api.running():
            yield model, api


@pytest.mark.parametrize(
    ("path", "photos"), [("/v1/predict", 1), ("/v1/predict", 64), ("/v1/explain", 1)]
)
def test_client_that_disconnects_frees_the_model_server(
    held_api: tuple[HeldModel, ApiProcess], path: str, photos: int
) -> None:
    held, api = held_api
    held.batches.clear()
    asked, cancelled = held.asked, held.cancelled
    logged = api.log.read_text().count(" 408 ")

    leaving = begin(api.port, path, photos)
    wait_until(lambda: held.asked == asked + 1, "the call is under way")
    leaving.close()
    wait_until(lambda: held.cancelled == cancelled + 1, "the call is cancelled")
    held.permits.release()
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=20)
    with closing(connection):
        headers = {"Content-Type": "image/png"}
        connection.request("POST", "/v1/predict", grey(9), headers)
        assert connection.getresponse().status == 200

    assert held.batches == [1]
    wait_until(lambda: api.log.read_text().count(" 408 ") > logged, "a log line")
