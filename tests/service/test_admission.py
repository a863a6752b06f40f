"""Who is let in: expected waits, learnt from what was answered."""

from __future__ import annotations

import pytest

from service.budget import Budget
from service.predictions.admission import Admission, OverloadedError
from service.predictions.drain import DrainRate


def run(drain: DrainRate, start: float, images: int, seconds: float) -> float:
    """Answer *images*, that come together, one after the other in *seconds* each."""
    drain.enter(images, start)
    for number in range(1, images + 1):
        drain.leave(1, start + number * seconds, answered=True)
    return start + images * seconds


def test_wait_is_images_in_work_over_their_rate() -> None:
    drain = DrainRate()
    now = run(drain, 0.0, 64, 0.1)

    assert drain.seconds_for(64, now) == pytest.approx(6.4, rel=0.2)


def test_idle_time_is_not_slowness() -> None:
    drain = DrainRate()
    busy = run(drain, 0.0, 64, 0.1)
    before = drain.seconds_for(64, busy)

    assert drain.seconds_for(64, busy + 1000.0) == before


def test_nothing_known_is_no_wait() -> None:
    drain = DrainRate()
    drain.enter(100, 0.0)

    assert drain.seconds_for(100, 60.0) == 0.0


def test_one_batch_may_be_answered_as_quickly_as_one_image() -> None:
    drain = DrainRate()
    now = run(drain, 0.0, 1, 1.0)

    assert drain.seconds_for(32, now) == pytest.approx(2.0, rel=0.1)
    assert drain.seconds_for(33, now) == pytest.approx(33.0, rel=0.1)


def test_hanging_model_server_is_noticed_and_forgiven() -> None:
    drain = DrainRate()
    now = run(drain, 0.0, 100, 0.01)
    quick = drain.seconds_for(33, now)

    drain.enter(33, now)
    hung = drain.seconds_for(33, now + 20.0)
    drain.leave(33, now + 20.0, answered=False)
    back = run(drain, now + 20.0, 500, 0.01)

    assert hung > 10 * quick
    assert drain.seconds_for(33, back) < 3 * quick


def test_places_are_free_again_after_an_error() -> None:
    admission = Admission(1)

    for _ in range(2):
        with pytest.raises(ZeroDivisionError), admission.enter(1, Budget(1.0)):
            raise ZeroDivisionError

    admission.check_room(1.0)


@pytest.mark.parametrize(("wait_seconds", "header"), [(0.0, 1), (1.2, 2), (1000.0, 30)])
def test_refusal_says_when_to_try_again(wait_seconds: float, header: int) -> None:
    assert OverloadedError("busy", wait_seconds).headers == {"Retry-After": str(header)}
