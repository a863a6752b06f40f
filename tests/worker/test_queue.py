"""The front: submit once, follow, cancel, retry; with Redis and without."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from redis import Redis

from models.contract import MAX_BATCH_SIZE
from models.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    QueueUnavailableError,
)
from tests.worker.world import SHARD_SIZE, World, request
from worker.queue import BY_DEFAULT, JobQueue
from worker.shard_sizes import choose_shard_size


def test_submitted_job_is_queued_in_shards(world: World) -> None:
    world.photos_of(20)

    job = world.queue.submit(request())

    with Redis.from_url(world.redis.url) as connection:
        assert connection.llen("rq:queue:kennel") == 3
    assert (job.state, job.done, job.total) == ("queued", 0, 20)
    assert world.queue.jobs() == [job]


def test_status_is_json_with_progress(world: World) -> None:
    world.photos_of(2)

    content = world.queue.submit(request()).to_json()

    assert json.loads(json.dumps(content)) == content
    assert content["progress"] == {"done": 0, "total": 2, "unreadable": 0}
    assert content["state"] == "queued"
    assert content["clip"] == 0.95
    assert content["unreadable_files"] == []


def test_newest_job_comes_first(world: World) -> None:
    world.photos_of(1)
    made = [world.queue.submit(request()) for _ in range(3)]
    (world.runs_dir / "train" / "run").mkdir(parents=True)

    listed = world.queue.jobs()

    created = [job.created for job in listed]
    assert created == sorted(created, reverse=True)
    assert {job.id for job in listed} == {job.id for job in made}


def test_same_key_and_request_is_the_same_job(world: World) -> None:
    world.photos_of(5)

    first = world.queue.submit(request(), "key")
    again = world.queue.submit(request(version=2, clip=0.9), "key")

    assert again.id == first.id
    assert again.version == 1
    assert len(world.queue.jobs()) == 1


def test_same_key_and_other_request_is_a_conflict(world: World) -> None:
    world.photos_of(5)
    world.queue.submit(request(), "key")

    with pytest.raises(ConflictError) as refused:
        world.queue.submit(request(format="full"), "key")

    assert refused.value.code == "idempotency_conflict"


def test_simultaneous_submits_with_one_key_start_one_job(world: World) -> None:
    world.photos_of(20)
    ids: list[str] = []

    def submit() -> None:
        ids.append(world.queue.submit(request(), "key").id)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with Redis.from_url(world.redis.url) as connection:
        assert connection.llen("rq:queue:kennel") == 3
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert world.leftovers() == []


@pytest.mark.parametrize("name", ["", "..", "/etc", "missing"])
def test_bad_folder_starts_nothing(world: World, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        world.queue.submit(request(input=name))

    assert world.queue.jobs() == []


def test_redis_away_starts_nothing_and_answers_about_jobs(world: World) -> None:
    world.photos_of(5)
    known = world.queue.submit(request())
    world.redis.kill()

    with pytest.raises(QueueUnavailableError):
        world.queue.submit(request())
    with pytest.raises(QueueUnavailableError):
        world.queue.ping(0.5)

    assert world.queue.jobs() == [known]
    assert world.queue.status(known.id) == known
    assert [path.name for path in world.runs_dir.iterdir()] == [known.id]


def test_full_redis_starts_nothing(world: World) -> None:
    world.photos_of(5)
    with Redis.from_url(world.redis.url) as connection:
        connection.config_set("maxmemory", "1")

    with pytest.raises(QueueUnavailableError, match="memory"):
        world.queue.submit(request())

    assert world.queue.jobs() == []


@pytest.mark.parametrize("job_id", ["nope", "..", "../runs", "", "train", "a\0"])
def test_unknown_job_is_not_found(world: World, job_id: str) -> None:
    (world.runs_dir / "train").mkdir(parents=True)

    with pytest.raises(NotFoundError) as missing:
        world.queue.status(job_id)

    assert missing.value.code == "job_not_found"


def test_unfinished_job_has_no_csv(world: World) -> None:
    world.photos_of(5)
    job = world.queue.submit(request())

    with pytest.raises(ConflictError) as refused:
        world.queue.submission(job.id)

    assert refused.value.code == "job_not_finished"


def test_cancelled_job_stops_and_can_go_on(world: World) -> None:
    world.photos_of(3 * SHARD_SIZE)
    world.model_server.delay_seconds = 0.3
    job = world.queue.submit(request())
    world.start_reconciler()
    world.start_worker()
    world.wait_for_progress(job)

    cancelled = world.queue.cancel(job.id)

    assert cancelled.state == "cancelled"
    assert cancelled.finished is not None
    assert world.queue.cancel(job.id) == world.queue.status(job.id)
    world.queue.retry(job.id)
    world.wait_for(job, "succeeded")
    with pytest.raises(ConflictError):
        world.queue.cancel(job.id)
    with pytest.raises(ConflictError):
        world.queue.retry(job.id)


def test_other_queue_object_sees_the_same_jobs(world: World) -> None:
    world.photos_of(5)
    job = world.queue.submit(request())
    other = JobQueue(world.redis.url, world.runs_dir, world.input_root)

    assert other.status(job.id) == job


def test_clip_counts_between_equal_versions() -> None:
    asked = request(clip=0.9)

    assert asked.asks_the_same(replace(asked, version=2, clip=0.95))
    assert not asked.asks_the_same(replace(asked, clip=0.95))


def test_repeat_finds_its_job_though_another_model_is_the_default_now() -> None:
    asked = request(pin=BY_DEFAULT, clip=0.9)

    assert asked.asks_the_same(replace(asked, model="solar", clip=0.95))
    assert asked.asks_the_same(replace(asked, pin=None))
    assert not asked.asks_the_same(replace(asked, model="solar", pin=None))
    assert not asked.asks_the_same(replace(asked, input="other"))


@pytest.mark.parametrize(("images", "shard"), [(1, 64), (2047, 64), (2048, 128)])
def test_small_jobs_get_small_shards_so_that_progress_shows(
    images: int, shard: int
) -> None:
    assert choose_shard_size(images) == shard
    assert shard % MAX_BATCH_SIZE == 0
