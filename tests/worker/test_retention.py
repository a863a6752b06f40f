"""Ended runs and their photos leave on time; nothing else does, whoever interferes."""

from __future__ import annotations

import io
import os
import threading
import time
from pathlib import Path

import pytest

from models.errors import ConflictError, NotFoundError
from tests.finished_runs import finish_run
from tests.pictures import grey
from tests.worker.packing import zipped
from tests.worker.world import SHARD_SIZE, World, oracle, request, wait_until
from worker.deletion import delete_photos, delete_run
from worker.drafts import remove_abandoned
from worker.queue import JobQueue
from worker.reconciler import reconcile
from worker.removal import remove_until
from worker.retention import Retention
from worker.run import Run
from worker.runs import all_runs, find_run
from worker.worklist import WorkList

MONTH = Retention(run_days=30, photo_days=7)
_DAY = 24 * 3600


def ended_run(world: World, days_ago: float, photos: int = 0) -> Run:
    """A run that succeeded so long ago, with uploaded photos."""
    world.photos_of(1)
    run = find_run(world.runs_dir, world.queue.submit(request()).id)
    finish_run(run, "id,label\n1,0.5\n", {})
    for number in range(photos):
        run.photos.mkdir(exist_ok=True)
        (run.photos / f"{number}.jpg").write_bytes(b"photo")
    end(run, days_ago)
    return run


def end(run: Run, days_ago: float) -> None:
    moment = time.time() - days_ago * _DAY
    os.utime(run.report, (moment, moment))


def look(world: World, retention: Retention) -> None:
    reconcile(world.runs_dir, WorkList(world.redis.url), retention)


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir() if each.name[0] != "."}


def test_old_runs_go_and_younger_ones_stay(world: World) -> None:
    old, young = ended_run(world, 31), ended_run(world, 29)
    working = world.queue.submit(request())

    look(world, MONTH)

    assert names(world.runs_dir) == {young.id, working.id}
    with pytest.raises(NotFoundError):
        world.queue.status(old.id)


def test_photos_go_before_the_rest(world: World) -> None:
    old, young = ended_run(world, 8, photos=3), ended_run(world, 6, photos=3)

    look(world, MONTH)

    assert not old.photos.exists()
    assert len(names(young.photos)) == 3
    assert world.queue.submission(old.id).read_text() == "id,label\n1,0.5\n"


def test_deleted_files_leave_the_disk(world: World) -> None:
    ended_run(world, 31, photos=3)
    ended_run(world, 8, photos=3)
    look(world, MONTH)
    look(world, MONTH)

    assert world.leftovers() == []
    assert not list(world.runs_dir.rglob("*.jpg"))


def test_for_ever_is_for_ever(world: World) -> None:
    run = ended_run(world, 10_000, photos=1)

    look(world, Retention(run_days=0, photo_days=0))

    assert names(run.photos) == {"0.jpg"}


def test_run_that_goes_on_is_not_deleted(world: World) -> None:
    run = ended_run(world, 31)
    ended = run.ended()
    run.report.unlink()

    with pytest.raises(ConflictError):
        delete_run(run, ended=ended)

    assert not run.is_gone


def test_run_that_ended_again_is_not_deleted(world: World) -> None:
    run = ended_run(world, 31)
    ended = run.ended()
    end(run, 0)

    with pytest.raises(ConflictError):
        delete_run(run, ended=ended)


def test_run_that_a_worker_has_not_left_is_waited_for(world: World) -> None:
    run = ended_run(world, 0)
    leave = threading.Event()
    entered = threading.Event()

    def work() -> None:
        with run.working():
            entered.set()
            leave.wait(20)

    worker = threading.Thread(target=work)
    worker.start()
    entered.wait(20)
    with pytest.raises(ConflictError, match="leaving"):
        delete_run(run)
    threading.Timer(0.1, leave.set).start()
    delete_run(run, wait_seconds=20)
    worker.join()

    assert all_runs(world.runs_dir) == []
    with pytest.raises(NotFoundError), run.working():
        pass


def test_whoever_waited_for_a_deleted_run_finds_nothing(world: World) -> None:
    run = ended_run(world, 0)
    delete_run(run)
    (run.folder / "attempts").mkdir(parents=True)
    stranger = Run(run.folder)

    with pytest.raises(NotFoundError):
        world.queue.cancel(run.id)
    with pytest.raises(NotFoundError):
        _ = stranger.manifest


def test_retry_without_its_photos_is_refused(world: World) -> None:
    archive = io.BytesIO(zipped({"1.png": grey(1)}))
    job = world.queue.submit_archive(request(input="upload:a.zip"), archive)
    world.queue.cancel(job.id)
    delete_photos(find_run(world.runs_dir, job.id))

    with pytest.raises(ConflictError, match="upload them again") as refused:
        world.queue.retry(job.id)

    assert refused.value.code == "job_not_retryable"
    assert world.queue.status(job.id).state == "cancelled"


def test_many_files_are_removed_bit_by_bit(tmp_path: Path) -> None:
    folder = tmp_path / ".tmp-run-1"
    (folder / "photos").mkdir(parents=True)
    for number in range(300):
        (folder / "photos" / f"{number}.jpg").touch()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()

    assert not remove_until(folder, time.monotonic() - 1)
    assert len(names(folder / "photos")) == 300
    remove_abandoned(tmp_path)
    assert names(tmp_path) == {"elsewhere"}
    assert not folder.exists()


def test_job_is_deleted_under_its_worker(world: World) -> None:
    world.photos_of(3 * SHARD_SIZE)
    expected = oracle(world, request())
    world.model_server.delay_seconds = 0.5
    job = world.queue.submit(request(), "key")
    world.start_worker()
    wait_until(lambda: world.queue.status(job.id).state == "running", 30)
    world.queue.cancel(job.id)
    world.queue.delete(job.id)
    world.model_server.delay_seconds = 0
    again = world.queue.submit(request(), "key")
    world.start_reconciler()

    assert again.id == job.id
    world.wait_for(again, "succeeded")
    assert world.csv(again) == expected
    wait_until(lambda: world.leftovers() == [], 20)


def read_all(queue: JobQueue, job_id: str) -> list[object]:
    """What is wrong with what a reader meets."""
    try:
        state = queue.status(job_id).state
        with queue.reading(job_id):
            queue.submission(job_id).read_text()
        queue.figures()
        shown = {job.state for job in (*queue.jobs(), *queue.page().jobs)}
    except NotFoundError:
        return []
    except Exception as error:
        return [error]
    return [each for each in {state, *shown} if each != "succeeded"]


def test_readers_meet_all_of_a_run_or_nothing(world: World) -> None:
    runs = [ended_run(world, 0, photos=1) for _ in range(20)]
    wrong: list[object] = []
    over = threading.Event()

    def keep_reading() -> None:
        while not over.is_set():
            for run in runs:
                wrong.extend(read_all(world.queue, run.id))

    readers = [threading.Thread(target=keep_reading) for _ in range(3)]
    for reader in readers:
        reader.start()
    for run in runs:
        world.queue.delete(run.id)
    over.set()
    for reader in readers:
        reader.join()

    assert wrong == []
    wait_until(lambda: world.queue.jobs() == [], 5)
