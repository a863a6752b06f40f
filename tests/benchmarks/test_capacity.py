"""The queueing model agrees with what queueing theory knows exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.capacity import Stages, forecast
from benchmarks.harness.load import random_arrivals, steady_arrivals

ONE_BY_ONE = Stages(
    api_seconds=0.0,
    api_servers=1,
    batch_seconds=0.1,
    image_seconds=0.0,
    max_batch=1,
)
"""Ten requests a second, each by itself."""

BATCHES = replace(ONE_BY_ONE, max_batch=32)
"""A batch takes as long as one request."""


def test_idle_deployment_answers_in_the_sum_of_its_stages() -> None:
    stages = replace(ONE_BY_ONE, api_seconds=0.02, image_seconds=0.03)

    found = forecast(stages, steady_arrivals(1, 20))

    assert found.milliseconds(50) == pytest.approx(150)
    assert found.milliseconds(99) == pytest.approx(150)
    assert found.mean_batch == 1


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waiting_without_batches_is_that_of_pollaczek_and_khinchine(
    load: float,
) -> None:
    # M/D/1: the mean wait is load / (2 (1 - load)) services.
    found = forecast(ONE_BY_ONE, random_arrivals(10 * load, 20_000))

    mean = sum(found.seconds) / len(found.seconds)
    assert mean == pytest.approx(0.1 * (1 + load / (2 * (1 - load))), rel=0.05)


def test_batches_grow_with_the_load_and_keep_the_latency_bounded() -> None:
    # Whoever comes waits at most for one batch, then for their own.
    found = forecast(BATCHES, random_arrivals(200, 100))

    assert found.rate == pytest.approx(200, rel=0.02)
    assert found.mean_batch == pytest.approx(20, rel=0.05)
    assert found.milliseconds(99) <= 200


def test_overload_is_answered_at_capacity() -> None:
    found = forecast(BATCHES, random_arrivals(1000, 20))

    assert BATCHES.capacity == 320
    assert found.rate == pytest.approx(320, rel=0.02)
    assert set(found.batches[5:-5]) == {32}


def test_second_replica_doubles_the_capacity() -> None:
    two = replace(BATCHES, batch_servers=2)

    assert two.capacity == 2 * BATCHES.capacity
    assert forecast(two, random_arrivals(1000, 20)).rate == pytest.approx(640, rel=0.02)


def test_slowest_stage_is_the_capacity() -> None:
    slow_api = replace(BATCHES, api_seconds=0.01, api_servers=2)

    assert slow_api.capacity == 200
    assert forecast(slow_api, steady_arrivals(400, 10)).rate == pytest.approx(
        200, rel=0.02
    )


def test_other_work_takes_its_share_of_the_model_s_cores() -> None:
    # The model's 1/320 s an image and as much other work: half of the core for each.
    shared = replace(BATCHES, other_cpu_seconds=1 / 320)

    assert shared.capacity == pytest.approx(160)
    assert shared.under(160).batch(32) == pytest.approx(2 * BATCHES.batch(32))


def test_noise_of_a_machine_shows_in_the_slowest_answers() -> None:
    noisy = replace(ONE_BY_ONE, spread=(0.5, 1.0, 1.0, 1.5))
    arrivals = random_arrivals(6, 5000)

    assert noisy.capacity == ONE_BY_ONE.capacity
    assert forecast(noisy, arrivals).milliseconds(99) > (
        1.05 * forecast(ONE_BY_ONE, arrivals).milliseconds(99)
    )


def test_random_arrivals_are_the_same_for_the_same_seed() -> None:
    assert random_arrivals(5, 10) == random_arrivals(5, 10)
    assert random_arrivals(5, 10, seed=1) != random_arrivals(5, 10)
    assert len(random_arrivals(5, 1000)) == pytest.approx(5000, rel=0.05)
