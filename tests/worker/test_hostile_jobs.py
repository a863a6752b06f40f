"""Jobs that cannot be read, or kill or hang their process."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from models.errors import (
    ModelUnavailableError,
)
from models.images import Pixels
from models.wire.client import ModelRef, Prediction
from tests.worker.world import (
    SHARD_SIZE,
    World,
    begun_attempts,
    children,
    request,
    wait_until,
)
from worker.reconciler import reconcile
from worker.shards import predict_items
from worker.sources.local import LocalFolder
from worker.sources.source import list_photos
from worker.worklist import WorkList

QUEUE = "rq:queue:kennel"


def test_shard_that_kills_its_process_ends_the_job(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    world.model_server.delay_seconds = 5
    job = world.queue.submit(request())
    world.start_reconciler()
    worker = world.start_worker()

    killed = 0

    def failed_or_killed_again() -> bool:
        nonlocal killed
        if begun_attempts(world, job, 0) > killed:
            killed += 1
            for pid in children(worker):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return world.queue.status(job.id).state == "failed"

    wait_until(failed_or_killed_again, 60)

    error = str(world.queue.status(job.id).error)
    assert begun_attempts(world, job, 0) == 10
    assert "its process died" in error
    assert "1.png, 2.png" in error
    assert worker.poll() is None
    assert not (world.runs_dir / job.id / "submission.csv").exists()


def test_time_limit_is_no_image_error_and_ends_the_shard_at_once(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    folder = LocalFolder(world.photos, "test")
    items = list_photos(folder).items
    release = threading.Event()

    def hang(_batch: Pixels, _model: ModelRef) -> Prediction:
        release.wait(20)
        raise ModelUnavailableError("released")

    begun = time.monotonic()
    with (
        pytest.raises(JobTimeoutException),
        UnixSignalDeathPenalty(1, JobTimeoutException),  # type: ignore[no-untyped-call]
    ):
        predict_items(folder, items, request(), hang)
    release.set()

    assert time.monotonic() - begun < 10


def push(world: World, function: str, *args: Any, **options: Any) -> Job:
    queue = Queue(
        "kennel",
        connection=Redis.from_url(world.redis.url),
        serializer=JSONSerializer,
    )
    return queue.enqueue_call(function, args=list(args), **options)


def test_unreadable_job_does_not_end_the_worker(world: World) -> None:
    broken = push(world, "worker.jobs.assemble", "nope", job_id="broken")
    connection = broken.connection
    connection.hset(broken.key, "timeout", "abc")
    connection.rpush(QUEUE, "bad id with spaces")
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request())
    worker = world.start_worker()
    world.wait_for(job, "succeeded")

    reconcile(world.runs_dir, WorkList(world.redis.url))

    assert worker.poll() is None
    assert connection.llen(f"{QUEUE}:intermediate") == 0
    assert not connection.exists(broken.key)
