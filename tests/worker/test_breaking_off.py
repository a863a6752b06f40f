"""A cancelled job frees its workers within seconds, whatever they wait for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from models.errors import ConflictError
from tests.conftest import RedisServer
from tests.pictures import write_folder
from tests.service.served_model import ServedModel
from tests.worker.world import SHARD_SIZE, World, children, request, wait_until
from worker.breaking_off import broken_off_when_ended
from worker.run import Run

LIMIT_SECONDS = 5


@pytest.fixture
def hanging(tmp_path: Path, redis_server: RedisServer) -> Iterator[World]:
    release = threading.Event()
    with ServedModel() as server:
        server.before_answer = lambda: release.wait(30)
        world = World(tmp_path, redis_server, server)
        yield world
        release.set()
        world.close()


def test_worker_that_waits_for_the_model_takes_the_next_job(hanging: World) -> None:
    hanging.photos_of(SHARD_SIZE)
    job = hanging.queue.submit(request())
    worker = hanging.start_worker()
    wait_until(lambda: "serving_default" in calls(hanging), 20)
    at_work = children(worker)

    hanging.queue.cancel(job.id)
    begun = time.monotonic()
    wait_until(lambda: children(worker) != at_work, 20)
    seconds = time.monotonic() - begun
    hanging.model_server.before_answer = None
    write_folder(hanging.input_root / "next", SHARD_SIZE)
    following = hanging.queue.submit(request(input="next"))
    hanging.wait_for(following, "succeeded")

    assert seconds < LIMIT_SECONDS
    assert hanging.queue.status(job.id).state == "cancelled"
    assert not (hanging.runs_dir / job.id / "shards" / "00000.json").exists()


def calls(world: World) -> list[str]:
    assert isinstance(world.model_server, ServedModel)
    return world.model_server.calls


def test_worker_that_reads_artefacts_for_the_csv_is_free(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request())
    run = Run(world.runs_dir / job.id)
    # Whoever opens it waits for a writer that never comes.
    os.mkfifo(run.shard_path(0))
    with Redis.from_url(world.redis.url) as connection:
        connection.flushall()
    world.start_reconciler()
    worker = world.start_worker()
    wait_until((run.folder / "attempts" / "assemble").exists, 20)

    run.cancel()

    wait_until(lambda: not children(worker), LIMIT_SECONDS)
    assert worker.poll() is None
    assert not run.csv.exists()


def test_block_of_a_run_that_goes_on_is_left_alone(world: World) -> None:
    world.photos_of(1)
    run = Run(world.runs_dir / world.queue.submit(request()).id)

    with broken_off_when_ended(run):
        threading.Event().wait(0.6)
    with pytest.raises(ConflictError, match="has ended"):
        _cancel_and_wait(run)


def _cancel_and_wait(run: Run) -> None:
    with broken_off_when_ended(run):
        run.cancel()
        threading.Event().wait(LIMIT_SECONDS)
