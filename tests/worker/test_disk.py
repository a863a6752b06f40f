"""A disk that is full: nothing is taken in, and nothing that was taken in is lost."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.errors import ConflictError, StorageFullError
from tests.processes import no_descriptors
from tests.worker.world import (
    SHARD_SIZE,
    World,
    begun_attempts,
    children,
    oracle,
    request,
)
from worker.artefacts import load_artefact
from worker.disk import check_room, disk_free_bytes, outlast_full_disk
from worker.queue import JobLimits, JobQueue
from worker.run import Run
from worker.runs import find_run

ENORMOUS = 2**60
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def limit_files(process: subprocess.Popen[bytes], limits: tuple[int, int]) -> None:
    """Let a worker write no larger files, as a disk without room does."""
    for pid in (process.pid, *children(process)):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def limit_descriptors(process: subprocess.Popen[bytes], count: int) -> int:
    """Let a worker have that many files open; how many it could have before."""
    for pid in (process.pid, *children(process)):
        before, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, most))
    return before


@pytest.fixture
def run(world: World) -> Run:
    world.photos_of(SHARD_SIZE)
    return find_run(world.runs_dir, world.queue.submit(request()).id)


def test_no_job_is_taken_in_without_room(world: World) -> None:
    world.photos_of(1)
    limits = JobLimits(min_free_bytes=ENORMOUS)
    queue = JobQueue(world.redis.url, world.runs_dir, world.input_root, limits=limits)

    with pytest.raises(
        StorageFullError, match=r"\d+ MiB free, but .*kennel jobs delete"
    ):
        queue.submit(request())

    assert not world.runs_dir.exists() or not list(world.runs_dir.iterdir())


def test_repeated_submit_finds_its_job_without_room(world: World) -> None:
    world.photos_of(1)
    job = world.queue.submit(request(), "key")
    limits = JobLimits(min_free_bytes=ENORMOUS)
    queue = JobQueue(world.redis.url, world.runs_dir, world.input_root, limits=limits)

    assert queue.submit(request(), "key").id == job.id


def test_what_comes_in_counts(tmp_path: Path) -> None:
    free = disk_free_bytes(tmp_path / "runs" / "not" / "yet")

    check_room(tmp_path, free // 2, free // 4)
    with pytest.raises(StorageFullError, match="for the upload"):
        check_room(tmp_path, free // 2, free)
    check_room(tmp_path, 0, 2 * free)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EMFILE]
)
def test_work_waits_for_its_disk(run: Run, number: int) -> None:
    tries: list[int] = []

    def work() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(number, os.strerror(number))
        return "done"

    assert outlast_full_disk(run, work, lambda _: False) == "done"
    assert len(tries) == 3


def full() -> None:
    raise OSError(errno.ENOSPC, "no space left on device")


def test_waiting_ends(run: Run) -> None:
    with pytest.raises(OSError, match="no space"):
        outlast_full_disk(run, full, lambda _: True)
    with pytest.raises(OSError, match="no space"):
        outlast_full_disk(run, full, lambda _: False, wait_seconds=0)


def test_waiting_ends_with_the_run(run: Run) -> None:
    run.cancel()

    with pytest.raises(ConflictError):
        outlast_full_disk(run, full, lambda _: False)


def test_read_only_result_folder_is_waited_for(run: Run) -> None:
    troubles = [OSError(errno.EROFS, "read-only", str(run.shard_path(0)))]

    def work() -> str:
        if troubles:
            raise troubles.pop()
        return "done"

    assert outlast_full_disk(run, work, lambda _: False) == "done"


def test_other_trouble_is_not_waited_for(run: Run) -> None:
    def work() -> None:
        raise PermissionError(errno.EACCES, "denied", "/data/test/1.jpg")

    with pytest.raises(PermissionError):
        outlast_full_disk(run, work, lambda _: pytest.fail("waited"))


@contextmanager
def told_worker(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """A worker whose log can be read."""
    command = [sys.executable, "-m", "worker.main"]
    with subprocess.Popen(command, env=world.env(), stderr=subprocess.PIPE) as worker:
        yield worker
        worker.terminate()


def wait_for_line(worker: subprocess.Popen[bytes], text: bytes) -> None:
    assert worker.stderr is not None
    assert any(text in line for line in worker.stderr)


def test_job_outlives_a_full_disk(world: World) -> None:
    world.photos_of(3 * SHARD_SIZE)
    expected = oracle(world, request())
    world.start_reconciler()
    with told_worker(world) as worker:
        wait_for_line(worker, b"waiting for shards")
        limit_files(worker, (100, resource.RLIM_INFINITY))
        job = world.queue.submit(request())
        wait_for_line(worker, b"waits for its disk")
        limit_files(worker, UNLIMITED)

        world.wait_for(job, "succeeded")

    assert world.csv(job) == expected
    assert [begun_attempts(world, job, number) for number in range(3)] == [1, 1, 1]
    assert world.leftovers() == []


def test_job_outlives_too_many_open_files(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    expected = oracle(world, request())
    world.start_reconciler()
    with told_worker(world) as worker:
        wait_for_line(worker, b"waiting for shards")
        before = limit_descriptors(worker, 10)
        job = world.queue.submit(request())
        wait_for_line(worker, b"Too many open files")
        limit_descriptors(worker, before)

        done = world.wait_for(job, "succeeded")

    assert world.csv(job) == expected
    assert (done.unreadable, begun_attempts(world, job, 0)) == (0, 1)


def test_artefact_that_cannot_be_read_now_is_not_damaged(run: Run) -> None:
    run.shard_path(0).touch()

    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        load_artefact(run.shard_path(0), (), 2)
