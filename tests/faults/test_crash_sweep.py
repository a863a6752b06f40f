"""F19: a process is killed before each of its steps on the disk, one run a step.

Every sweep ends with a reconciler and a worker that find all these runs at once.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from redis import Redis

from models.errors import ConflictError
from tests.faults.crashes import NEVER, Place, crashes
from tests.pictures import grey
from tests.worker.world import World, oracle, request, wait_until
from worker.jobs import assemble, predict_shard
from worker.queue import JobStatus
from worker.reconciler import reconcile
from worker.worklist import WorkList

SHARD_SIZE = 2
PHOTOS = 2 * SHARD_SIZE
FEWEST_STEPS = 4
"""A sweep with fewer did not see the file operations."""


class Sweep:
    """A kennel with one job for each step at which something may be killed."""

    def __init__(self, world: World) -> None:
        world.photos_of(PHOTOS)
        self.world = world
        self.expected = oracle(world, request())
        self.place = Place(world.env(), SHARD_SIZE)
        self.queue = self.place.queue()
        self.jobs: list[str] = []

    def over(self, prepare: Callable[[], str], action: Callable[[str], Any]) -> None:
        """For each step of *action*: `prepare` a job, and kill *action* on it there."""
        for step in itertools.count(1):
            job = prepare()
            self.jobs.append(job)
            killed = crashes(self.place, action, job, at=step)
            self.check_promise(job)
            if not killed:
                assert step > FEWEST_STEPS
                return

    def submit(self) -> str:
        """A job, queued."""
        return self.queue.submit(request()).id

    def with_shards(self, *numbers: int) -> str:
        """A job of which these shards are done."""
        job = self.submit()
        for number in numbers:
            assert not crashes(self.place, predict_shard, job, number, at=NEVER)
        return job

    def check_promise(self, job: str) -> None:
        """What a client may see of a job at any moment: a whole CSV or none."""
        try:
            text = self.queue.submission(job).read_text()
        except ConflictError:
            return
        assert text == self.expected

    def recover(self) -> list[JobStatus]:
        """Start who finds lost work and who does it; the jobs when all have ended."""
        self.world.start_reconciler()
        self.world.start_worker()
        wait_until(self._have_ended, 100)
        wait_until(lambda: self.world.leftovers() == [], 10)
        return [self.queue.status(job) for job in self.jobs]

    def check_succeeded(self, job: str) -> None:
        """The whole CSV and a report that fits."""
        text = self.queue.submission(job).read_text()
        report = json.loads((self.world.runs_dir / job / "report.json").read_text())
        assert text == self.expected
        assert report["csv_sha256"] == hashlib.sha256(text.encode()).hexdigest()

    def check_without_csv(self, job: str) -> None:
        """Neither a CSV nor a report."""
        folder = self.world.runs_dir / job
        assert not (folder / "submission.csv").exists()
        assert not (folder / "report.json").exists()

    def _have_ended(self) -> bool:
        for job in self.jobs:
            self.check_promise(job)
        states = {self.queue.status(job).state for job in self.jobs}
        return not states & {"queued", "running"}


@pytest.fixture
def sweep(world: World) -> Sweep:
    return Sweep(world)


def check_all_succeed(sweep: Sweep) -> None:
    assert {job.state for job in sweep.recover()} == {"succeeded"}
    for job in sweep.jobs:
        sweep.check_succeeded(job)


def test_f19_last_shard_dies_at_any_step(sweep: Sweep) -> None:
    """Among others between its artefact and the queueing of the assembly."""
    sweep.over(partial(sweep.with_shards, 1), partial(predict_shard, shard_number=0))

    check_all_succeed(sweep)


def test_f19_assembly_dies_at_any_step(sweep: Sweep) -> None:
    """Before and after the CSV, before and after the report that makes it count."""
    sweep.over(partial(sweep.with_shards, 0, 1), assemble)

    check_all_succeed(sweep)


def submit_with_key(place: Place, key: str) -> None:
    place.queue().submit(request(), key)


def archive() -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for number in range(1, PHOTOS + 1):
            packed.writestr(f"{number}.png", grey(number * 37 % 256))
    stream.seek(0)
    return stream


def upload_with_key(place: Place, key: str) -> None:
    place.queue().submit_archive(request(), archive(), key)


@pytest.mark.parametrize("submit", [submit_with_key, upload_with_key])
def test_f19_submit_dies_at_any_step(
    sweep: Sweep, submit: Callable[[Place, str], None]
) -> None:
    """There is a whole job or none, and whoever tries again gets one job."""
    for step in itertools.count(1):
        killed = crashes(sweep.place, submit, sweep.place, f"key-{step}", at=step)
        assert len(sweep.queue.jobs()) <= step
        submit(sweep.place, f"key-{step}")
        if not killed:
            break
    sweep.jobs = [job.id for job in sweep.queue.jobs()]

    assert len(sweep.jobs) == step > FEWEST_STEPS
    check_all_succeed(sweep)


def cancel(job: str, place: Place) -> None:
    place.queue().cancel(job)


def test_f19_cancel_dies_at_any_step(sweep: Sweep) -> None:
    """The job is cancelled or goes on; there is nothing in between."""
    sweep.over(partial(sweep.with_shards, 0), partial(cancel, place=sweep.place))

    ended = sweep.recover()

    assert {job.state for job in ended} == {"succeeded", "cancelled"}
    for job in ended:
        succeeded = job.state == "succeeded"
        (sweep.check_succeeded if succeeded else sweep.check_without_csv)(job.id)


def retry(job: str, place: Place) -> None:
    place.queue().retry(job)


def test_f19_retry_dies_at_any_step(sweep: Sweep) -> None:
    """The job goes on or is as it was, and then can be retried again."""

    def cancelled() -> str:
        job = sweep.with_shards(0)
        sweep.queue.cancel(job)
        return job

    sweep.over(cancelled, partial(retry, place=sweep.place))
    for job in sweep.jobs:
        if sweep.queue.status(job).state == "cancelled":
            sweep.queue.retry(job)

    check_all_succeed(sweep)


def test_f19_giving_up_dies_at_any_step(sweep: Sweep) -> None:
    """A shard without attempts left ends its job, sooner or later."""

    def worn_out() -> str:
        job = sweep.submit()
        attempts = sweep.world.runs_dir / job / "attempts" / "00000"
        attempts.write_text("begun \n" * 10)
        return job

    sweep.over(worn_out, partial(predict_shard, shard_number=0))

    ended = sweep.recover()

    assert {job.state for job in ended} == {"failed"}
    assert all("1.png, 2.png" in str(job.error) for job in ended)
    for job in ended:
        sweep.check_without_csv(job.id)


def look_for_lost_work(_job: str, place: Place) -> None:
    reconcile(place.runs_dir, WorkList(place.env["REDIS_URL"]))


def test_f19_reconciler_dies_at_any_step(sweep: Sweep) -> None:
    """The next one does what it left undone."""

    def forgotten() -> str:
        job = sweep.submit()
        with Redis.from_url(sweep.world.redis.url) as connection:
            connection.flushall()
        for earlier in sweep.jobs:
            sweep.queue.cancel(earlier)
        return job

    sweep.over(forgotten, partial(look_for_lost_work, place=sweep.place))

    assert {job.state for job in sweep.recover()} == {"succeeded", "cancelled"}
    sweep.check_succeeded(sweep.jobs[-1])
