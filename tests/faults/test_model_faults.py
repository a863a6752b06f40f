"""F11, F12: the model hangs, is away, is slow, or gives unusable answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from redis import Redis

from tests.faults.ordeal import Ordeal
from tests.faults.scripted_model import ScriptedModelServer
from tests.processes import wait_until
from tests.worker.world import SHARD_SIZE, World

TIME_LIMIT_SECONDS = 1
MAX_ATTEMPTS = 10


def limit_time(world: World, work: str) -> None:
    """The queue's own limit of a job is half an hour: too long for a test."""
    with Redis.from_url(world.redis.url) as connection:
        connection.hset(f"rq:job:{work}", "timeout", TIME_LIMIT_SECONDS)


def test_f11_shard_that_hangs_is_begun_again(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """Its time limit is no error of an image."""
    ordeal.submit(photos=SHARD_SIZE)
    model_server.hold()
    limit_time(ordeal.world, f"{ordeal.job.id}-s00000")
    ordeal.start()
    wait_until(lambda: ordeal.attempts(0) >= 2, "a second attempt", 60)
    model_server.release()

    ordeal.check_success()


def test_f11_shard_that_always_hangs_fails_the_job(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """After its attempts; the reason names the limit and the images."""
    ordeal.submit(photos=SHARD_SIZE)
    model_server.hold()
    limit_time(ordeal.world, f"{ordeal.job.id}-s00000")
    spent = ordeal.run / "attempts" / "00000"
    spent.write_text("begun \n" * (MAX_ATTEMPTS - 1))
    ordeal.start()

    ordeal.check_failure("maximum timeout value (1 seconds)", "1.png, 2.png")


def test_f12_model_server_goes_away_and_comes_back(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """Nobody makes a probability up while it is away."""
    ordeal.begin()
    model_server.stop()
    threading.Event().wait(2)
    model_server.start()

    ordeal.check_success()


def test_f12_model_server_is_unavailable_and_slow(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """Five seconds of refusals, then answers that take their time."""
    ordeal.begin()
    model_server.failure = grpc.StatusCode.UNAVAILABLE
    threading.Event().wait(5)
    model_server.delay_seconds = 1
    model_server.failure = None

    ordeal.check_success()


def test_f12_only_another_version_is_served(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """The job's version is pinned: no other one answers for it."""
    ordeal.submit(photos=SHARD_SIZE)
    model_server.versions = (2,)
    ordeal.start()

    ordeal.check_failure("not served any more", "served: 2")


def too_many_labels(probabilities: Any) -> Any:
    return np.repeat(probabilities, 2, axis=1) / 2


def not_a_number(probabilities: Any) -> Any:
    return np.full_like(probabilities, np.nan)


def above_one(probabilities: Any) -> Any:
    return probabilities + 1


def one_short(probabilities: Any) -> Any:
    return probabilities[:-1]


@pytest.mark.parametrize(
    "distort", [too_many_labels, not_a_number, above_one, one_short]
)
def test_f12_answers_cannot_be_used(
    ordeal: Ordeal, model_server: ScriptedModelServer, distort: Callable[[Any], Any]
) -> None:
    """The job fails with a reason; no CSV has made-up rows."""
    ordeal.submit(photos=SHARD_SIZE)
    model_server.distort = distort
    ordeal.start()

    ordeal.check_failure("pets")
