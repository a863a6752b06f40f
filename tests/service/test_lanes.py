"""Who waits and who may go, without a model server."""

from __future__ import annotations

import numpy as np

from models.errors import ModelUnavailableError
from models.wire.messages import ModelRef
from service.predictions.lane import GATHERED, Group, Key, Share, Waiting
from service.predictions.lanes import Lanes

KEY = Key(ModelRef("pets"), (8, 8, 3))


def request(count: int = 1, deadline: float = 0.0) -> Waiting:
    return Waiting([np.zeros((8, 8, 3), np.uint8)] * count, deadline)


def under_way(lanes: Lanes, count: int = 1) -> Group:
    group = lanes.enter(KEY, request(count))
    assert group is not None
    return group


def test_fast_model_is_asked_by_one_call_at_a_time() -> None:
    lanes = Lanes()
    first = under_way(lanes)
    waiting = [request(), request(), request()]
    assert [lanes.enter(KEY, each) for each in waiting] == [None] * 3

    lanes.end(KEY, first, seconds=0.005)

    assert waiting[0].inbox.get_nowait() == waiting
    assert lanes.enter(KEY, request()) is None


def test_slow_model_is_asked_at_once() -> None:
    lanes = Lanes()
    first = under_way(lanes)
    lanes.enter(KEY, request())

    lanes.end(KEY, first, seconds=0.5)

    assert lanes.enter(KEY, request()) is not None


def test_model_is_not_slow_because_many_images_share_it() -> None:
    lanes = Lanes()
    first = under_way(lanes, count=31)
    lanes.enter(KEY, request())

    lanes.end(KEY, first, seconds=0.5)

    assert lanes.enter(KEY, request()) is None


def test_slow_model_that_becomes_fast_is_asked_by_one_call_again() -> None:
    lanes = Lanes()
    first = under_way(lanes)
    lanes.enter(KEY, request())
    lanes.end(KEY, first, seconds=0.5)
    slow = [under_way(lanes) for _ in range(3)]

    lanes.end(KEY, slow[0], seconds=0.001)
    late = request()

    assert lanes.enter(KEY, late) is None
    lanes.end(KEY, slow[1], seconds=0.001)
    lanes.end(KEY, slow[2], seconds=0.001)
    assert late.inbox.empty()  # one call is still under way


def test_the_most_patient_request_makes_the_call() -> None:
    lanes = Lanes()
    first = under_way(lanes)
    waiting = [request(deadline=each) for each in (2.0, 9.0, 5.0)]
    for each in waiting:
        lanes.enter(KEY, each)

    lanes.end(KEY, first, seconds=0.001)

    assert waiting[1].inbox.get_nowait() == waiting
    assert waiting[0].inbox.empty()


def test_lane_without_calls_is_forgotten() -> None:
    lanes = Lanes()

    lanes.end(KEY, under_way(lanes), seconds=0.001)

    assert lanes.waiting() == {}


def test_ready_image_waits_for_one_that_is_being_decoded() -> None:
    lanes = Lanes()
    ready, late = request(), request(deadline=1.0)

    with lanes.expect(KEY) as arrival:
        assert lanes.enter(KEY, ready) is None
        assert lanes.enter(KEY, late, arrival) == [ready, late]


def test_image_that_cannot_be_decoded_holds_up_nobody() -> None:
    lanes = Lanes()
    ready = request()

    with lanes.expect(KEY):
        lanes.enter(KEY, ready)

    assert ready.inbox.get_nowait() == [ready]


def test_enough_images_wait_for_no_more() -> None:
    lanes = Lanes()

    with lanes.expect(KEY):
        ready = [request(deadline=float(number)) for number in range(GATHERED)]
        turns = [lanes.enter(KEY, each) for each in ready]

    assert turns == [*[None] * (GATHERED - 1), ready]


def test_share_that_came_while_entering_is_kept() -> None:
    lanes = Lanes()
    patient, entering = request(deadline=9.0), request()
    share = Share(ModelUnavailableError("away"), 0.1, 2)

    with lanes.expect(KEY) as arrival:
        lanes.enter(KEY, patient)
        entering.inbox.put(share)  # the patient one has made the call by now
        turn = lanes.enter(KEY, entering, arrival)

    assert turn is None
    assert entering.inbox.get_nowait() is share
