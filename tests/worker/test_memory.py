"""A job's processes stay small, however many images it has."""

from __future__ import annotations

import sys

import pytest
from redis import Redis

from benchmarks.footprint import watched
from tests.worker.world import World, request
from worker.queue import JobQueue
from worker.shard_sizes import SHARD_SIZE

IMAGES = 8 * SHARD_SIZE + 52
"""Eight shards of full size, and one more."""

WORKER_MEGABYTES = 150
REDIS_MEGABYTES = 30


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_worker_and_redis_stay_small(world: World) -> None:
    world.photos_of(1)
    first = world.photos / "1.png"
    for number in range(2, IMAGES + 1):
        (world.photos / f"{number}.png").hardlink_to(first)
    queue = JobQueue(
        world.redis.url, world.runs_dir, world.input_root, shard_size=SHARD_SIZE
    )
    job = queue.submit(request())
    worker = world.start_worker()
    world.start_reconciler()

    pids = {"worker": worker.pid, "redis": process_of(world.redis.url)}
    with watched(pids, 0.1) as footprint:
        done = world.wait_for(job, "succeeded", 120)

    peaks = footprint.peaks()
    assert done.done == IMAGES
    assert peaks.pop("redis") <= REDIS_MEGABYTES, peaks
    assert max(peaks.values()) <= WORKER_MEGABYTES, peaks


def process_of(redis_url: str) -> int:
    with Redis.from_url(redis_url) as redis:
        return int(redis.info("server")["process_id"])
