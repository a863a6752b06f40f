"""Batching: requests share calls to the model server, with the same answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from models.errors import (
    ModelContractError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from models.images.codec import Pixels
from models.wire.client import CALL_ATTEMPTS, ModelServerClient
from models.wire.messages import ModelRef, Prediction
from service.http.budget import Budget
from service.predict.batching import (
    GATHERED,
    Batcher,
    BatchQueues,
    Group,
    QueuedRequest,
    QueueKey,
    Share,
)
from tests.processes import wait_until
from tests.service.served_model import HeldModel

PETS = ModelRef("pets")


class Requests:
    """Requests to one batcher, each in a thread of its own."""

    def __init__(
        self, client: ModelServerClient, model: HeldModel, pool: ThreadPoolExecutor
    ) -> None:
        self.client = client
        self.batcher = Batcher(client, BatchQueues())
        self.model = model
        self._pool = pool

    def send(
        self, *levels: int, model: ModelRef = PETS, seconds: float = 20, size: int = 32
    ) -> Future[Prediction]:
        budget = Budget(seconds)
        images = pixels(levels, size)
        return self._pool.submit(self.batcher.predict, images, model, budget)

    def hold(self) -> Future[Prediction]:
        """Occupy the queue of version-less requests with one call."""
        asked = self.model.asked
        first = self.send(0)
        wait_until(lambda: self.model.asked > asked, "the call is under way")
        return first

    def gather(self, *sent: Future[Prediction]) -> tuple[Future[Prediction], ...]:
        wait_until(lambda: self.waiting() == len(sent), "all requests wait")
        return sent

    def waiting(self) -> int:
        return sum(self.batcher.queues.waiting().values())


@pytest.fixture
def requests(held: HeldModel) -> Iterator[Requests]:
    with ModelServerClient(held.target) as client, ThreadPoolExecutor(64) as pool:
        yield Requests(client, held, pool)
        held.permits.release(100)


def pixels(levels: Sequence[int], size: int = 32) -> list[Pixels]:
    return [np.full((size, size, 3), level, np.uint8) for level in levels]


def dogs(answer: Future[Prediction]) -> list[int]:
    """The brightness that each answer is about."""
    return [round(dog * 255) for dog in answer.result(20).probabilities[:, 1]]


def test_idle_queue_sends_at_once(requests: Requests, held: HeldModel) -> None:
    held.permits.release()
    budget = Budget(20)

    requests.batcher.predict(pixels([9]), PETS, budget)

    assert list(budget.spent) == ["queue", "infer"]
    assert budget.spent["queue"] < 0.05
    assert held.batches == [1]


def test_images_gather_while_a_call_is_under_way(
    requests: Requests, held: HeldModel
) -> None:
    first = requests.hold()
    others = requests.gather(*(requests.send(level, 200) for level in (40, 50, 60)))

    held.permits.release(2)

    assert dogs(first) == [0]
    assert [dogs(each) for each in others] == [[40, 200], [50, 200], [60, 200]]
    assert held.batches == [1, 6]


def test_call_holds_no_more_than_a_batch(requests: Requests, held: HeldModel) -> None:
    requests.hold()
    others = requests.gather(*(requests.send(*[level] * 15) for level in (1, 2, 3)))

    held.permits.release(4)

    assert [dogs(each) for each in others] == [[1] * 15, [2] * 15, [3] * 15]
    # The one that shares its call with nobody goes to a slow model in pieces.
    assert sorted(held.batches) == [1, 7, 8, 30]


def test_what_fills_a_batch_waits_for_nobody(
    requests: Requests, held: HeldModel
) -> None:
    requests.hold()
    large = requests.send(*range(40))
    wait_until(lambda: held.asked == 2, "the large request is under way")

    held.permits.release(3)

    assert dogs(large) == list(range(40))
    assert sorted(held.batches) == [1, 8, 32]


def test_versions_labels_and_sizes_never_share_a_call(
    requests: Requests, held: HeldModel
) -> None:
    held.versions, held.version_labels, held.sizes = (1, 2), {"canary": 1}, {}
    requests.hold()
    pinned = requests.send(10, model=ModelRef("pets", version=1))
    labelled = requests.send(20, model=ModelRef("pets", label="canary"))
    large = requests.send(30, size=48)
    wait_until(lambda: held.asked == 4, "all calls are under way")

    held.permits.release(4)

    assert [dogs(pinned), dogs(labelled)] == [[10], [20]]
    assert [pinned.result().version, labelled.result().version] == [1, 1]
    with pytest.raises(ModelContractError):
        large.result(20)


def test_request_whose_time_is_up_leaves_the_queue(
    requests: Requests, held: HeldModel
) -> None:
    first = requests.hold()

    with pytest.raises(ModelTimeoutError, match="100 ms"):
        requests.send(1, seconds=0.1).result(20)

    held.permits.release()
    assert dogs(first) == [0]
    assert held.batches == [1]


def test_nobody_is_held_beyond_their_time_by_a_shared_call(
    requests: Requests, held: HeldModel
) -> None:
    requests.hold()
    hasty, patient = requests.gather(requests.send(1, seconds=1), requests.send(2))
    held.permits.release()
    wait_until(lambda: held.asked == 2, "the shared call is under way")

    with pytest.raises(ModelTimeoutError):
        hasty.result(20)

    held.permits.release()
    assert dogs(patient) == [2]
    assert held.batches == [1, 2]


def test_refused_call_is_tried_again_request_by_request(
    requests: Requests, held: HeldModel
) -> None:
    held.largest = 2
    requests.hold()
    fits, too_large = requests.gather(requests.send(1, 2), requests.send(3, 4, 5))

    held.permits.release(4)

    assert dogs(fits) == [1, 2]
    with pytest.raises(ModelContractError, match="Task size 3"):
        too_large.result(20)


def test_each_request_gets_its_own_copy_of_a_shared_error(
    requests: Requests, held: HeldModel
) -> None:
    requests.hold()
    sent = requests.gather(requests.send(1), requests.send(2))
    held.failure = grpc.StatusCode.UNAVAILABLE

    held.permits.release(2 * CALL_ATTEMPTS)

    errors = [each.exception(20) for each in sent]
    assert {type(error) for error in errors} == {ModelUnavailableError}
    assert errors[0] is not errors[1]


def test_call_that_breaks_off_leaves_nobody_waiting(
    requests: Requests, held: HeldModel
) -> None:
    requests.hold()
    sent = requests.gather(requests.send(1), requests.send(2))

    requests.client.close()

    kinds = {type(each.exception(20)) for each in sent}
    assert ModelUnavailableError in kinds
    wait_until(lambda: not requests.batcher.queues.waiting(), "no queue is in use")


def test_queues_are_forgotten_when_they_are_idle(
    requests: Requests, held: HeldModel
) -> None:
    held.permits.release(3)

    for version in (None, 1):
        requests.send(9, model=ModelRef("pets", version=version)).result(20)

    assert requests.batcher.queues.waiting() == {}


def test_answers_are_never_mixed_up(requests: Requests, held: HeldModel) -> None:
    held.permits.release(1000)
    levels = [number % 256 for number in range(300)]

    sent = [requests.send(level, 255 - level) for level in levels]

    assert [dogs(each) for each in sent] == [[level, 255 - level] for level in levels]
    assert max(held.batches) > 2


KEY = QueueKey(ModelRef("pets"), (8, 8, 3))


def request(count: int = 1, deadline: float = 0.0) -> QueuedRequest:
    return QueuedRequest([np.zeros((8, 8, 3), np.uint8)] * count, deadline)


def under_way(queues: BatchQueues, count: int = 1) -> Group:
    group = queues.enter(KEY, request(count))
    assert group is not None
    return group


def test_fast_model_is_asked_by_one_call_at_a_time() -> None:
    queues = BatchQueues()
    first = under_way(queues)
    waiting = [request(), request(), request()]
    assert [queues.enter(KEY, each) for each in waiting] == [None] * 3

    queues.end(KEY, first, seconds=0.005)

    assert waiting[0].inbox.get_nowait() == waiting
    assert queues.enter(KEY, request()) is None


def test_slow_model_is_asked_at_once() -> None:
    queues = BatchQueues()
    first = under_way(queues)
    queues.enter(KEY, request())

    queues.end(KEY, first, seconds=0.5)

    assert queues.enter(KEY, request()) is not None


def test_model_is_not_slow_because_many_images_share_it() -> None:
    queues = BatchQueues()
    first = under_way(queues, count=31)
    queues.enter(KEY, request())

    queues.end(KEY, first, seconds=0.5)

    assert queues.enter(KEY, request()) is None


def test_slow_model_that_becomes_fast_is_asked_by_one_call_again() -> None:
    queues = BatchQueues()
    first = under_way(queues)
    queues.enter(KEY, request())
    queues.end(KEY, first, seconds=0.5)
    slow = [under_way(queues) for _ in range(3)]

    queues.end(KEY, slow[0], seconds=0.001)
    late = request()

    assert queues.enter(KEY, late) is None
    queues.end(KEY, slow[1], seconds=0.001)
    queues.end(KEY, slow[2], seconds=0.001)
    assert late.inbox.empty()  # one call is still under way


def test_the_most_patient_request_makes_the_call() -> None:
    queues = BatchQueues()
    first = under_way(queues)
    waiting = [request(deadline=each) for each in (2.0, 9.0, 5.0)]
    for each in waiting:
        queues.enter(KEY, each)

    queues.end(KEY, first, seconds=0.001)

    assert waiting[1].inbox.get_nowait() == waiting
    assert waiting[0].inbox.empty()


def test_queue_without_calls_is_forgotten() -> None:
    queues = BatchQueues()

    queues.end(KEY, under_way(queues), seconds=0.001)

    assert queues.waiting() == {}


def test_ready_image_waits_for_one_that_is_being_decoded() -> None:
    queues = BatchQueues()
    ready, late = request(), request(deadline=1.0)

    with queues.expect(KEY) as arrival:
        assert queues.enter(KEY, ready) is None
        assert queues.enter(KEY, late, arrival) == [ready, late]


def test_image_that_cannot_be_decoded_holds_up_nobody() -> None:
    queues = BatchQueues()
    ready = request()

    with queues.expect(KEY):
        queues.enter(KEY, ready)

    assert ready.inbox.get_nowait() == [ready]


def test_enough_images_wait_for_no_more() -> None:
    queues = BatchQueues()

    with queues.expect(KEY):
        ready = [request(deadline=float(number)) for number in range(GATHERED)]
        turns = [queues.enter(KEY, each) for each in ready]

    assert turns == [*[None] * (GATHERED - 1), ready]


def test_share_that_came_while_entering_is_kept() -> None:
    queues = BatchQueues()
    patient, entering = request(deadline=9.0), request()
    share = Share(ModelUnavailableError("away"), 0.1, 2)

    with queues.expect(KEY) as arrival:
        queues.enter(KEY, patient)
        entering.inbox.put(share)  # the patient one has made the call by now
        turn = queues.enter(KEY, entering, arrival)

    assert turn is None
    assert entering.inbox.get_nowait() is share
