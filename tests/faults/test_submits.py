"""F20-F22: double submits, cancels at any moment, no room for results."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConflictError
from tests.faults.api import api_of
from tests.worker.world import (
    SHARD_SIZE,
    World,
    children,
    oracle,
    request,
    wait_until,
)
from worker.queue import JobStatus


def test_eight_threads_with_one_key_get_one_job(world: World) -> None:
    world.photos_of(2 * SHARD_SIZE)
    expected = oracle(world, request())
    answers: list[tuple[int, str]] = []
    with api_of(world) as api:

        def submit() -> None:
            response = api.application.test_client().post(
                "/v1/jobs", json={"input": "test"}, headers={"Idempotency-Key": "one"}
            )
            answers.append((response.status_code, response.get_json()["id"]))

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    world.start_reconciler()
    world.start_worker()
    [job] = world.queue.jobs()
    world.wait_for(job, "succeeded")

    assert answers == [(202, job.id)] * 8
    assert world.csv(job) == expected


def test_cancelled_job_that_was_queued_never_begins(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request())
    with api_of(world) as api:
        assert api.post(f"/v1/jobs/{job.id}/cancel").status_code == 200
    other = world.queue.submit(request())
    world.start_reconciler()
    world.start_worker()

    world.wait_for(other, "succeeded")

    assert world.queue.status(job.id).state == "cancelled"
    assert list((world.runs_dir / job.id / "shards").iterdir()) == []


def test_cancelled_job_that_ran_writes_nothing_more(world: World) -> None:
    world.photos_of(6 * SHARD_SIZE)
    world.model_server.delay_seconds = 0.3
    job = world.queue.submit(request())
    world.start_reconciler()
    worker = world.start_worker()
    world.wait_for_progress(job)

    world.queue.cancel(job.id)
    wait_until(lambda: not children(worker), 20)
    done = shards_of(world, job)
    world.model_server.delay_seconds = 0
    other = world.queue.submit(request())
    world.wait_for(other, "succeeded")

    assert world.queue.status(job.id).state == "cancelled"
    assert shards_of(world, job) == done
    assert not (world.runs_dir / job.id / "submission.csv").exists()


def shards_of(world: World, job: JobStatus) -> list[str]:
    return sorted(path.name for path in (world.runs_dir / job.id / "shards").iterdir())


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep others from ending a run until the block ends."""
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_cancel_during_the_assembly_gives_all_or_nothing(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    expected = oracle(world, request())
    job = world.queue.submit(request())
    run = world.runs_dir / job.id
    cancelled: list[bool] = []

    def cancel() -> None:
        try:
            world.queue.cancel(job.id)
            cancelled.append(True)
        except ConflictError:
            cancelled.append(False)

    with held(run):
        world.start_reconciler()
        world.start_worker()
        wait_until((run / "attempts" / "assemble").exists, 30)
        thread = threading.Thread(target=cancel)
        thread.start()
    thread.join()

    if cancelled == [True]:
        assert world.queue.status(job.id).state == "cancelled"
        assert not (run / "submission.csv").exists()
    else:
        assert world.csv(job) == expected


@contextmanager
def small_disk(
    world: World, worker: subprocess.Popen[bytes], _: Path
) -> Iterator[None]:
    """No file of the worker may grow beyond a few bytes."""
    limit = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (300, limit[1]))
    yield
    # The process of the job waits for its disk and has the limit of its birth.
    for pid in (worker.pid, *children(worker)):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@contextmanager
def no_folder(
    world: World, worker: subprocess.Popen[bytes], run: Path
) -> Iterator[None]:
    """Nothing can be written where shards go; also for root, whom no mode stops."""
    shards = run / "shards"
    shards.rmdir()
    shards.touch()
    yield
    shards.unlink()
    shards.mkdir()


def attempts_of(run: Path) -> str:
    return "".join(path.read_text() for path in (run / "attempts").iterdir())


@pytest.mark.parametrize("trouble", [small_disk, no_folder])
def test_job_that_could_not_be_written_goes_on_later(
    world: World, trouble: Callable[..., Any]
) -> None:
    world.photos_of(SHARD_SIZE)
    expected = oracle(world, request())
    job = world.queue.submit(request())
    run = world.runs_dir / job.id
    worker = world.start_worker()
    with trouble(world, worker, run):
        world.start_reconciler()
        wait_until(lambda: "begun" in attempts_of(run), 30)
        assert not (run / "submission.csv").exists()
        assert world.queue.status(job.id).done == 0

    def succeeded() -> bool:
        state = world.queue.status(job.id).state
        if state == "failed":
            world.queue.retry(job.id)
        return state == "succeeded"

    wait_until(succeeded, 60)
    assert world.csv(job) == expected
    assert world.leftovers() == []
