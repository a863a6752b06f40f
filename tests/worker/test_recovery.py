"""What the reconciler finds, and what it leaves alone."""

from __future__ import annotations

import json
import time

from redis import Redis

from tests.worker.world import (
    SHARD_SIZE,
    World,
    begun_attempts,
    kill_all,
    oracle,
    request,
    wait_until,
)
from worker.dispatch import SMALLEST_WINDOW
from worker.reconciler import reconcile
from worker.settings import WorkerSettings
from worker.worklist import WorkList

QUEUE = "rq:queue:kennel"


def test_reconciling_a_healthy_run_queues_nothing_twice(world: World) -> None:
    world.photos_of(5 * SHARD_SIZE)
    world.queue.submit(request())
    work_list = WorkList(world.redis.url)
    for _ in range(3):
        reconcile(world.runs_dir, work_list)

    with Redis.from_url(world.redis.url) as connection:
        assert connection.llen(QUEUE) == SMALLEST_WINDOW


def test_damaged_artefact_is_worked_again(world: World) -> None:
    world.photos_of(3 * SHARD_SIZE)
    expected = oracle(world, request())
    job = world.queue.submit(request())
    (world.runs_dir / job.id / "shards" / "00001.json").write_text('{"rows": [')
    world.start_reconciler()
    world.start_worker()

    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected


def test_crash_before_the_assembly_is_mended(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    expected = oracle(world, request())
    job = world.queue.submit(request())
    worker = world.start_worker()
    world.wait_for(job, "succeeded")
    worker.kill()
    worker.wait()
    (world.runs_dir / job.id / "report.json").unlink()
    (world.runs_dir / job.id / "submission.csv").write_text("id,la")
    world.start_reconciler()
    world.start_worker()

    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected
    report = json.loads((world.runs_dir / job.id / "report.json").read_text())
    assert report["images"] == SHARD_SIZE


def test_shard_of_a_killed_worker_is_begun_again_within_15_seconds(
    world: World,
) -> None:
    world.photos_of(4 * SHARD_SIZE)
    expected = oracle(world, request())
    world.model_server.delay_seconds = 1
    world.reconcile_seconds = WorkerSettings().reconcile_seconds
    job = world.queue.submit(request())
    world.start_reconciler()
    worker = world.start_worker()
    wait_until(lambda: begun_attempts(world, job, 0) == 1, 20)
    world.start_worker()
    kill_all(worker)
    killed = time.monotonic()
    wait_until(lambda: begun_attempts(world, job, 0) == 2, 30)
    seconds = time.monotonic() - killed

    world.wait_for(job, "succeeded")

    assert seconds <= 15
    assert world.csv(job) == expected
