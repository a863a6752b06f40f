"""Whatever crashes in mid-job, the CSV is byte-equal to that of a quiet run."""

from __future__ import annotations

import shutil
import signal
import threading

import redis

from tests.worker.world import (
    SHARD_SIZE,
    World,
    children,
    kill_all,
    oracle,
    request,
    wait_until,
)
from worker.queue import JobStatus

PHOTOS = 48
DELAY_SECONDS = 0.25


def begin(world: World, workers: int = 1) -> tuple[str, JobStatus]:
    """A job in mid-work with a slow model server, and the CSV that it must give."""
    world.photos_of(PHOTOS)
    expected = oracle(world, request())
    world.model_server.delay_seconds = DELAY_SECONDS
    job = world.queue.submit(request())
    world.start_reconciler()
    for _ in range(workers):
        world.start_worker()
    world.wait_for_progress(job)
    return expected, job


def test_quiet_run_gives_the_csv(world: World) -> None:
    expected, job = begin(world, workers=2)

    finished = world.wait_for(job, "succeeded")

    assert world.csv(job) == expected
    assert (finished.done, finished.total, finished.unreadable) == (PHOTOS, PHOTOS, 0)
    assert finished.finished is not None
    assert world.leftovers() == []


def test_worker_and_its_job_are_killed(world: World) -> None:
    world.photos_of(PHOTOS)
    expected = oracle(world, request())
    world.model_server.delay_seconds = 1
    job = world.queue.submit(request())
    world.start_reconciler()
    worker = world.start_worker()
    wait_until(lambda: world.queue.status(job.id).state == "running", 20)
    kill_all(worker)
    world.model_server.delay_seconds = 0
    world.start_worker()

    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected


def test_job_process_dies_with_its_worker(world: World) -> None:
    world.photos_of(PHOTOS)
    world.model_server.delay_seconds = 5
    world.queue.submit(request())
    worker = world.start_worker()
    wait_until(lambda: bool(children(worker)), 20)
    job_process = children(worker)[0]
    worker.kill()
    worker.wait()

    wait_until(lambda: not _runs(job_process), 5)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_redis_is_killed_and_comes_back(world: World) -> None:
    expected, job = begin(world, workers=2)
    world.redis.kill()
    stalled = threading.Event()
    stalled.wait(1.0)
    world.redis.start()

    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected


def test_redis_loses_everything(world: World) -> None:
    expected, job = begin(world)
    world.redis.kill()
    for path in world.redis.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    world.redis.start()
    with redis.Redis.from_url(world.redis.url) as connection:
        assert connection.llen("rq:queue:kennel") in {0, PHOTOS // SHARD_SIZE}

    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected


def test_model_server_goes_away_and_comes_back(world: World) -> None:
    expected, job = begin(world)
    world.model_server.stop()
    threading.Event().wait(1.0)
    assert world.queue.status(job.id).state == "running"
    world.model_server.start()

    finished = world.wait_for(job, "succeeded")

    assert world.csv(job) == expected
    assert finished.unreadable == 0


def test_worker_told_to_stop_finishes_its_shard(world: World) -> None:
    world.photos_of(PHOTOS)
    expected = oracle(world, request())
    world.model_server.delay_seconds = DELAY_SECONDS
    job = world.queue.submit(request())
    world.start_reconciler()
    worker = world.start_worker()
    world.wait_for_progress(job)
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(20) == 0
    assert 0 < world.queue.status(job.id).done <= PHOTOS
    world.start_worker()
    world.wait_for(job, "succeeded")
    assert world.csv(job) == expected


def test_worker_told_to_stop_does_not_wait_for_a_model(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    world.model_server.stop()
    job = world.queue.submit(request())
    world.start_reconciler()
    worker = world.start_worker()
    wait_until(lambda: world.queue.status(job.id).state == "running", 20)
    wait_until(lambda: bool(children(worker)), 5)
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(20) == 0
    world.model_server.start()
    world.start_worker()
    world.wait_for(job, "succeeded")
