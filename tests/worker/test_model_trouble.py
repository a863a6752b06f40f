"""What must be waited out, and what ends a job with a reason."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest

from models.contract import MAX_BATCH_SIZE
from models.errors import (
    ConflictError,
    MixedBatchError,
    ModelContractError,
    ModelUnavailableError,
)
from models.images.codec import Pixels
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef
from tests.fake_model_server import DIFFERENT_SHAPES, QUEUE_FULL, Merging
from tests.worker.world import (
    SHARD_SIZE,
    World,
    oracle,
    request,
)
from worker.patience import Patience

QUEUE = "rq:queue:kennel"


def test_model_that_answers_nonsense_ends_the_job(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request(labels=("a", "b", "c"), format="full"))
    world.start_worker()

    failed = world.wait_for(job, "failed")

    assert "3 labels" in str(failed.error)
    assert not (world.runs_dir / job.id / "submission.csv").exists()


def test_version_that_is_not_served_any_more_ends_the_job(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    world.model_server.versions = (2, 3)
    job = world.queue.submit(request(version=1))
    world.start_worker()

    failed = world.wait_for(job, "failed")

    assert "not served any more" in str(failed.error)


def ask(world: World, *, wait_seconds: float = 5, over: bool = False) -> Any:
    patience = Patience(wait_seconds, pause=lambda _: False, is_over=lambda: over)
    with ModelServerClient(world.model_server.target) as client:
        return patience.predict(client, _batch(), ModelRef("pets", version=1))


def _batch() -> Pixels:
    return np.zeros((2, 32, 32, 3), dtype=np.uint8)


def test_model_that_comes_back_is_waited_for(world: World) -> None:
    world.model_server.failure = grpc.StatusCode.UNAVAILABLE
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 3:
            world.model_server.failure = None
        return False

    patience = Patience(60, pause, is_over=lambda: False)
    with ModelServerClient(world.model_server.target) as client:
        answer = patience.predict(client, _batch(), ModelRef("pets", version=1))

    assert len(answer.probabilities) == 2
    assert pauses == [0.2, 0.4, 0.8]


@pytest.mark.parametrize("versions", [(), (1,)])
def test_model_that_is_not_loaded_yet_is_waited_for(
    world: World, versions: tuple[int, ...]
) -> None:
    world.model_server.versions = ()
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        world.model_server.versions = versions if len(pauses) < 3 else (1,)
        return False

    patience = Patience(60, pause, is_over=lambda: False)
    with ModelServerClient(world.model_server.target) as client:
        answer = patience.predict(client, _batch(), ModelRef("pets", version=1))

    assert answer.version == 1


def test_model_that_stays_away_is_given_up_at_the_limit(world: World) -> None:
    world.model_server.failure = grpc.StatusCode.UNAVAILABLE

    with pytest.raises(ModelUnavailableError, match="away"):
        ask(world, wait_seconds=0.1)


@pytest.mark.parametrize("wait_seconds", [0, 60])
def test_batches_that_others_spoil_are_asked_again_without_an_absence(
    world: World, wait_seconds: float
) -> None:
    mixed = (grpc.StatusCode.FAILED_PRECONDITION, DIFFERENT_SHAPES)
    world.model_server.refusals.extend([mixed] * 20)
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    patience = Patience(wait_seconds, pause, is_over=lambda: False)
    with ModelServerClient(world.model_server.target) as client:
        answer = patience.predict(client, _batch(), ModelRef("pets", version=1))

    assert len(answer.probabilities) == len(answer.logits) == 2
    assert pauses == [0.1] * 20
    assert world.model_server.batches == [MAX_BATCH_SIZE]


def test_full_batching_queue_is_waited_for(world: World) -> None:
    full = (grpc.StatusCode.UNAVAILABLE, QUEUE_FULL)
    world.model_server.refusals.extend([full] * 5)

    assert len(ask(world).probabilities) == 2


def test_job_succeeds_beside_clients_that_send_another_size(world: World) -> None:
    """Also if they never stop: a full batch is shared with nobody. Every row is right."""
    world.photos_of(4 * SHARD_SIZE)
    expected = oracle(world, request())
    merging = world.model_server.merging = Merging(requests=2, seconds=0.02)
    stale = np.zeros((1, 48, 64, 3), dtype=np.uint8)
    over = threading.Event()

    def send_stale() -> None:
        with ModelServerClient(world.model_server.target) as client:
            while not over.is_set():
                with suppress(MixedBatchError):
                    client.predict(stale, ModelRef("pets"))

    with ThreadPoolExecutor() as pool:
        senders = [pool.submit(send_stale) for _ in range(2)]
        try:
            job = world.queue.submit(request())
            world.start_worker()
            world.wait_for(job, "succeeded")
        finally:
            over.set()
        for each in senders:
            each.result()

    assert merging.mixed > 0
    assert world.csv(job) == expected


def test_broken_model_is_not_waited_for(world: World) -> None:
    world.model_server.failure = grpc.StatusCode.INVALID_ARGUMENT

    with pytest.raises(ModelContractError):
        ask(world)


def test_ended_run_asks_nothing(world: World) -> None:
    with pytest.raises(ConflictError):
        ask(world, over=True)

    assert world.model_server.batches == []
