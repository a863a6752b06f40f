"""The speed of a run: of the last minute, however often it rested before."""

from __future__ import annotations

import pytest

from worker.pace import Step, images_per_second


def steps(*moments: float) -> list[Step]:
    return [Step(moment, 10) for moment in moments]


def test_steady_run_has_its_speed_from_the_first_shard_on() -> None:
    assert images_per_second(steps(2), begun=0, now=3) == 5
    assert images_per_second(steps(*range(2, 200, 2)), begun=0, now=199) == 5


def test_speed_is_that_of_the_last_minute() -> None:
    slow, fast = range(10, 101, 10), range(101, 170)

    assert images_per_second(steps(*slow, *fast), begun=0, now=169) == 10


def test_shards_of_more_than_a_minute_have_a_speed() -> None:
    speed = images_per_second(steps(100, 200, 300, 400), begun=0, now=480)

    assert speed == 0.1


def test_run_that_stands_still_slows_down_and_is_unknown_in_the_end() -> None:
    done = steps(2, 4, 6)
    speeds = [images_per_second(done, begun=0, now=now) for now in (7, 30, 300)]

    assert speeds == sorted(speeds, key=lambda speed: -(speed or 0))
    assert images_per_second(done, begun=0, now=2000) is None


@pytest.mark.parametrize("again", [None, 90_000.0])
def test_rest_of_a_day_does_not_count(again: float | None) -> None:
    """With a retry, work begins again; without, the workers were off."""
    before, after = steps(2, 4, 6), steps(90_002, 90_004)

    speed = images_per_second([*before, *after], begun=again or 0, now=90_005)

    assert speed == 5


def test_run_without_a_finished_shard_has_none() -> None:
    assert images_per_second([], begun=0, now=5) is None
    assert images_per_second(steps(1), begun=None, now=5) is None
    assert images_per_second(steps(1), begun=2, now=5) is None
