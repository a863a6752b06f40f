"""F19: a process is killed before each of its steps on the disk, one step a run.

Every sweep ends with a reconciler and a worker that find all these runs at once.
"""

from __future__ import annotations

import io
import itertools
import os
import zipfile
from collections.abc import Callable
from functools import partial

import pytest
from redis import Redis

from tests.faults.crash_sweep import FEWEST_STEPS, PHOTOS, Sweep
from tests.faults.crashes import Place, crashes
from tests.pictures import grey
from tests.worker.world import World, request
from worker.absence import give_worker_back
from worker.attempts import shard_work
from worker.jobs import assemble, predict_shard
from worker.reconciler import reconcile
from worker.run import Run
from worker.worklist import WorkList


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
            # Without the time of day: whoever repeats a submit sends the same bytes.
            member = zipfile.ZipInfo(f"{number}.png")
            packed.writestr(member, grey(number * 37 % 256))
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


def test_f19_shard_dies_at_any_step_while_its_model_is_away(sweep: Sweep) -> None:
    """Waiting is noted or an attempt is counted: the job goes on when it is back."""

    def waiting() -> str:
        run = Run(sweep.place.runs_dir / sweep.submit())
        give_worker_back(run, shard_work(0), 1, "nobody answers", 1000)
        os.utime(run.absence, (0, 0))
        return run.id

    sweep.world.model_server.stop()
    sweep.over(waiting, partial(predict_shard, shard_number=0))
    sweep.world.model_server.start()

    check_all_succeed(sweep)


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
