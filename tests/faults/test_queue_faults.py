"""F15 to F18, F36: faults inside Redis, and clocks that differ or jump.

These look into RQ's keys, which no other fault may.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from redis import Redis
from rq import Queue
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from tests.faults.ordeal import Ordeal, signal_all
from tests.faults.scripted_model import ScriptedModelServer
from tests.processes import wait_until
from tests.worker.world import SHARD_SIZE, World, request
from worker.allowed import AllowedJob
from worker.stuck import STUCK_SECONDS

QUEUE = "rq:queue:kennel"
HOUR_SECONDS = 3600


@pytest.fixture
def connection(world: World) -> Iterator[Redis]:
    with Redis.from_url(world.redis.url) as made:
        yield made


def test_f15_shard_is_lost_between_queue_and_worker(
    ordeal: Ordeal, connection: Redis
) -> None:
    """Its worker fetched it and died before it began."""
    ordeal.submit(photos=2 * SHARD_SIZE)
    connection.lmove(QUEUE, f"{QUEUE}:intermediate")
    seen = time.time() - STUCK_SECONDS
    connection.set(f"rq:kennel:fetched:{ordeal.job.id}-s00000", seen)
    ordeal.start()

    ordeal.check_success()

    assert connection.llen(f"{QUEUE}:intermediate") == 0


def test_f16_shard_cannot_be_read(ordeal: Ordeal, connection: Redis) -> None:
    """It is queued again; neither the worker nor another job takes harm."""
    ordeal.submit(photos=2 * SHARD_SIZE)
    other = ordeal.world.queue.submit(request())
    connection.hset(f"rq:job:{ordeal.job.id}-s00000", "timeout", "abc")
    connection.lpush(QUEUE, "an id with spaces", b"\xff\xfe")
    ordeal.start()
    wait_until(ordeal.workers, "the worker")
    worker = ordeal.workers()

    ordeal.world.wait_for(other, "succeeded", 60)
    ordeal.check_success()

    assert ordeal.workers() == worker
    wait_until(lambda: not connection.llen(f"{QUEUE}:intermediate"), "the clean-up")


def test_f17_maintenance_is_locked_out(ordeal: Ordeal, connection: Redis) -> None:
    """By one of RQ's workers that died in it: recovery does not depend on it."""
    ordeal.begin(photos=3 * SHARD_SIZE)
    connection.set(f"rq:clean_registries:{QUEUE.rpartition(':')[2]}", 1, ex=899)
    worker = ordeal.workers()[0]
    signal_all([worker, ordeal.work_horse(worker)], signal.SIGKILL)
    ordeal.expire_heartbeats([worker])

    ordeal.check_success()


def test_f18_no_shard_stays_behind_as_started(
    ordeal: Ordeal, connection: Redis
) -> None:
    """RQ's dependencies leave such entries and run them again: none are used."""
    ordeal.submit()
    keys = connection.keys("rq:job:*")
    queued = [connection.hgetall(key) for key in keys]
    ordeal.start(workers=2)
    ordeal.check_success()
    queue = Queue("kennel", connection, serializer=JSONSerializer)
    started = StartedJobRegistry(queue=queue, job_class=AllowedJob)

    wait_until(lambda: connection.zcard(started.key) == 0, "no started entry")
    started.cleanup(timestamp=int(time.time()) + 1000)

    assert queued
    assert not any(each.get(b"dependency_ids") for each in queued)
    assert connection.llen(QUEUE) == 0
    assert connection.keys("rq:job:*:dependents") == []
    assert ordeal.world.queue.status(ordeal.job.id).state == "succeeded"


@pytest.mark.parametrize("ahead_seconds", [HOUR_SECONDS, -HOUR_SECONDS])
def test_f36_clock_of_a_worker_is_wrong(
    ordeal: Ordeal, model_server: ScriptedModelServer, ahead_seconds: int
) -> None:
    """Its shard is not taken away while it works on it."""
    ordeal.submit(photos=SHARD_SIZE)
    model_server.delay_seconds = 3
    ordeal.start(workers=0)
    ordeal.start_skewed_worker(ahead_seconds)

    ordeal.check_success()

    assert ordeal.attempts(0) == 1


@pytest.mark.parametrize("ahead_seconds", [HOUR_SECONDS, -HOUR_SECONDS])
def test_f36_worker_dies_whose_clock_is_wrong(
    ordeal: Ordeal, model_server: ScriptedModelServer, ahead_seconds: int
) -> None:
    """Its shard is not waited for by that clock."""
    ordeal.submit(photos=SHARD_SIZE)
    model_server.hold()
    ordeal.start(workers=0)
    worker = ordeal.start_skewed_worker(ahead_seconds)
    wait_until(lambda: ordeal.attempts(0) == 1, "the first attempt")
    killed = time.monotonic()
    worker.kill()
    worker.wait()
    ordeal.expire_heartbeats([worker.pid])
    model_server.release()
    ordeal.world.start_worker()

    wait_until(lambda: ordeal.attempts(0) == 2, "the second attempt", 60)
    assert time.monotonic() - killed < 20
    ordeal.check_success()
