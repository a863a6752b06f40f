"""A job whose model is away leaves the workers to others, and goes on when it is back."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from redis import Redis

from tests.fake_model_server import CARD
from tests.pictures import write_folder
from tests.worker.world import SHARD_SIZE, World, oracle, request, wait_until
from worker.absence import MODEL, PHOTOS, give_worker_back, lift, read_absence
from worker.attempts import (
    MAX_ATTEMPTS,
    attempts_left,
    count_attempts,
    record_attempt,
    shard_work,
)
from worker.dispatch import SMALLEST_WINDOW, top_up
from worker.queue import JobStatus
from worker.run import Run
from worker.worklist import WorkList

QUEUE = "rq:queue:kennel"


def job_of(world: World, shards: int, model: str) -> JobStatus:
    write_folder(world.input_root / model, shards * SHARD_SIZE)
    return world.queue.submit(request(input=model, model=model))


def run_of(world: World, job: JobStatus) -> Run:
    return Run(world.runs_dir / job.id)


def queued(world: World) -> list[str]:
    with Redis.from_url(world.redis.url) as redis:
        return [each.decode() for each in redis.lrange(QUEUE, 0, -1)]


def forget_queue(world: World) -> None:
    with Redis.from_url(world.redis.url) as redis:
        redis.delete(QUEUE, *redis.keys("rq:job:*"))


def note_absence(world: World, job: JobStatus, asked_seconds_ago: float = 0) -> Run:
    run = run_of(world, job)
    record_attempt(run, shard_work(0))
    give_worker_back(run, shard_work(0), 1, "nobody answers", 1000)
    moment = run.absence.stat().st_mtime - asked_seconds_ago
    os.utime(run.absence, (moment, moment))
    return run


def test_job_whose_model_is_away_gives_its_workers_to_others(world: World) -> None:
    waiting = job_of(world, 12, "birds")
    other = job_of(world, 3, "pets")
    world.start_worker()
    world.start_reconciler()

    world.wait_for(other, "succeeded")

    status = world.queue.status(waiting.id)
    assert (status.state, status.done) == ("running", 0)
    assert "birds" in str(status.to_json()["waiting"])
    world.model_server.card = replace(CARD, name="birds")
    done = world.wait_for(waiting, "succeeded", 90)
    report = json.loads(run_of(world, waiting).report.read_text())
    assert done.waiting is None
    assert report["attempts"]["broken_off"] == 0
    assert world.csv(waiting) == oracle(world, request(input="birds", model="birds"))


def test_job_fails_when_its_model_was_away_for_too_long(world: World) -> None:
    world.extra_env = {"MODEL_WAIT_SECONDS": "1"}
    world.model_server.failure = grpc.StatusCode.UNAVAILABLE
    job = job_of(world, 1, "pets")
    world.start_worker()

    error = str(world.wait_for(job, "failed").error)

    assert "the model was away for" in error
    assert "retry the job" in error


def test_waiting_is_no_attempt(world: World) -> None:
    run = run_of(world, job_of(world, 1, "pets"))

    for _ in range(2 * MAX_ATTEMPTS):
        record_attempt(run, shard_work(0))
        give_worker_back(run, shard_work(0), 1, "nobody answers", 1000)

    assert attempts_left(run, shard_work(0)) == MAX_ATTEMPTS
    assert count_attempts(run) == (0, 0)


def test_pauses_between_questions_count_and_grow(world: World) -> None:
    run = run_of(world, job_of(world, 1, "pets"))
    pauses = []

    while not run.is_over:
        give_worker_back(run, shard_work(0), 0, "nobody answers", 3600)
        absence = read_absence(run.folder)
        assert absence is not None
        pauses.append(absence.pause_seconds)

    assert (pauses[0], pauses[-1]) == (5, 60)
    assert pauses == sorted(pauses)
    assert sum(pauses[:-2]) == pytest.approx(3600, abs=61)


def test_waiting_job_has_no_place_in_the_queue_until_its_pause_is_over(
    world: World,
) -> None:
    job = job_of(world, 12, "pets")
    assert len(queued(world)) == SMALLEST_WINDOW
    forget_queue(world)
    work_list = WorkList(world.redis.url)

    note_absence(world, job, asked_seconds_ago=0)
    top_up(world.runs_dir, work_list)
    assert queued(world) == []

    note_absence(world, job, asked_seconds_ago=61)
    for _ in range(3):
        top_up(world.runs_dir, work_list)
    assert queued(world) == [f"{job.id}-s00000"]


def test_shard_that_could_not_be_read_does_not_hold_up_the_others(
    world: World,
) -> None:
    job = job_of(world, 3, "pets")
    forget_queue(world)
    run = run_of(world, job)
    record_attempt(run, shard_work(0))
    give_worker_back(run, shard_work(0), 1, "input/output error", 1000, PHOTOS)
    os.utime(run.absence, (0, 0))

    top_up(world.runs_dir, WorkList(world.redis.url))

    assert queued(world) == [f"{job.id}-s00001"]


def test_shards_that_ask_in_turn_wait_no_longer_together(world: World) -> None:
    run = run_of(world, job_of(world, 2, "pets"))
    for number in (0, 1, 0):
        give_worker_back(run, shard_work(number), 20, "away", 90, PHOTOS)
    assert not run.is_over

    give_worker_back(run, shard_work(1), 20, "away", 90, PHOTOS)

    assert "the photos could not be read for" in run.failure.read_text()


def test_answer_of_the_model_says_nothing_of_the_photos(world: World) -> None:
    run = run_of(world, job_of(world, 1, "pets"))
    give_worker_back(run, shard_work(0), 1, "away", 90, PHOTOS)

    lift(run, MODEL)
    assert read_absence(run.folder) is not None
    lift(run, PHOTOS)
    assert read_absence(run.folder) is None


def test_clock_that_is_set_back_makes_nobody_wait_longer(world: World) -> None:
    run = note_absence(world, job_of(world, 1, "pets"), asked_seconds_ago=-3600)

    absence = read_absence(run.folder)

    assert absence is not None
    assert absence.may_ask


@pytest.mark.parametrize("text", ["", '{"reason": "x"}', "[]", "half a"])
def test_damaged_note_keeps_nobody_waiting(tmp_path: Path, text: str) -> None:
    Run(tmp_path).absence.write_text(text)

    assert read_absence(tmp_path) is None


def test_retried_job_does_not_wait_any_more(world: World) -> None:
    job = job_of(world, 1, "pets")
    run = note_absence(world, job)
    world.queue.cancel(job.id)

    world.queue.retry(job.id)

    assert read_absence(run.folder) is None
    wait_until(lambda: queued(world) == [f"{job.id}-s00000"], 5)
