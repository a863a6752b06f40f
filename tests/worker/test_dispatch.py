"""What is queued when: a window of shards, shared by the unfinished runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from redis import Redis

from models.errors import InvalidRequestError
from tests.pictures import write_folder
from tests.worker.world import (
    SHARD_SIZE,
    World,
    begun_attempts,
    oracle,
    request,
    wait_until,
)
from worker.dispatch import SMALLEST_WINDOW, top_up
from worker.queue import JobStatus
from worker.reconciler import reconcile
from worker.run import Run
from worker.sharing import GUARANTEED_EVERY
from worker.worklist import WorkList

QUEUE = "rq:queue:kennel"


@pytest.fixture
def redis(world: World) -> Iterator[Redis]:
    with Redis.from_url(world.redis.url) as connection:
        yield connection


def job_of(
    world: World, shards: int, name: str = "test", priority: str = "normal"
) -> JobStatus:
    write_folder(world.input_root / name, shards * SHARD_SIZE)
    return world.queue.submit(request(input=name, priority=priority))


def work_next(world: World, redis: Redis) -> str:
    """What a worker does with its next shard, without the images; whose it was."""
    id_ = redis.lpop(QUEUE).decode()  # type: ignore[union-attr]
    redis.delete(f"rq:job:{id_}")
    job_id, _, work = id_.rpartition("-")
    if work == "assemble":
        run = Run(world.runs_dir / job_id)
        draft = run.folder / "draft"
        draft.touch()
        run.finish(draft, {})
        return f"{job_id} assembled"
    # A real worker gives the place on when it begins, and this shard is no longer live.
    Run(world.runs_dir / job_id).shard_path(int(work[1:])).write_text('{"rows": []}')
    run = Run(world.runs_dir / job_id)
    work_list = WorkList(world.redis.url)
    if run.missing_shards():
        top_up(world.runs_dir, work_list)
    else:
        reconcile(world.runs_dir, work_list)
    return job_id


def worked_off(world: World, redis: Redis) -> list[str]:
    order = []
    while redis.llen(QUEUE):
        order.append(work_next(world, redis))
    return order


def test_large_job_has_few_shards_in_redis(world: World, redis: Redis) -> None:
    job = job_of(world, 20)

    most = 0
    done = 0
    while redis.llen(QUEUE):
        most = max(most, len(list(redis.scan_iter("rq:job:*"))))
        done += work_next(world, redis) == job.id

    assert (most, done) == (SMALLEST_WINDOW, 20)
    assert redis.hlen("rq:kennel:unfinished") <= 1


def test_small_job_is_not_stuck_behind_a_large_one(world: World, redis: Redis) -> None:
    large = job_of(world, 20, "large")
    small = job_of(world, 2, "small")

    order = worked_off(world, redis)

    before = order[: order.index(f"{small.id} assembled")]
    assert before.count(large.id) <= SMALLEST_WINDOW + 2
    assert order.count(large.id) == 20


def test_jobs_of_one_priority_share_the_workers(world: World, redis: Redis) -> None:
    jobs = [job_of(world, 12, f"folder{number}") for number in range(3)]

    order = worked_off(world, redis)

    middle = order[SMALLEST_WINDOW : SMALLEST_WINDOW + 18]
    assert all(4 <= middle.count(job.id) <= 8 for job in jobs)


def test_high_comes_before_normal_and_low(world: World, redis: Redis) -> None:
    low = job_of(world, 8, "low", "low")
    normal = job_of(world, 8, "normal")
    high = job_of(world, 6, "high", "high")

    order = worked_off(world, redis)

    ends = [order.index(f"{job.id} assembled") for job in (high, normal, low)]
    assert ends == sorted(ends)
    assert order[: ends[0]].count(normal.id) <= 1
    assert order[: ends[1]].count(low.id) <= SMALLEST_WINDOW + 2


def test_every_eighth_shard_is_given_without_regard_to_priority(
    world: World, redis: Redis
) -> None:
    long = job_of(world, 80, "long", "high")
    others = [job_of(world, 3, name, name) for name in ("normal", "low")]

    order = worked_off(world, redis)

    before = order[: order.index(f"{long.id} assembled")]
    turns = [number for number, id_ in enumerate(before) if id_ != long.id]
    gaps = [later - sooner for sooner, later in pairwise(turns)]
    assert all(f"{job.id} assembled" in before for job in others)
    assert [before.count(job.id) for job in others] == [3, 3]
    assert max(gaps) <= GUARANTEED_EVERY + 1


def test_priority_is_kept_and_is_no_other_request(world: World) -> None:
    world.photos_of(1)

    first = world.queue.submit(request(priority="low"), "key")
    again = world.queue.submit(request(priority="high"), "key")

    assert again == first
    assert first.priority == "low"
    with pytest.raises(InvalidRequestError, match="high, normal, low"):
        world.queue.submit(request(priority="urgent"))


def test_window_grows_with_the_workers(world: World, redis: Redis) -> None:
    redis.sadd("rq:workers:kennel", *(f"rq:worker:{each}" for each in range(5)))

    job_of(world, 20)

    assert redis.llen(QUEUE) == 10


def test_many_who_top_up_at_once_queue_nothing_twice(
    world: World, redis: Redis
) -> None:
    job = job_of(world, 30)
    expected = oracle(world, request())
    for _ in range(2):
        world.start_reconciler()
        world.start_worker()
    done = threading.Event()

    def top_up_again_and_again() -> None:
        work_list = WorkList(world.redis.url)
        while not done.wait(0.01):
            top_up(world.runs_dir, work_list)

    threads = [threading.Thread(target=top_up_again_and_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        world.wait_for(job, "succeeded")
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert world.csv(job) == expected
    assert [begun_attempts(world, job, each) for each in range(30)] == [1] * 30
    wait_until(lambda: redis.keys("rq:job:*") == [], 10)


def test_runs_that_cannot_be_looked_after_do_not_stop_the_others(
    world: World, redis: Redis
) -> None:
    damaged = [job_of(world, 1, f"damaged{number}") for number in range(4)]
    folders = [world.runs_dir / job.id for job in damaged]
    (folders[0] / "manifest.json").write_text('{"schema": 1')
    (folders[1] / "shards").rmdir()
    (folders[1] / "shards").write_text("a file")
    (folders[2] / "manifest.json").unlink()
    (folders[2] / "manifest.json").mkdir()
    (folders[3] / "shards").rmdir()
    (world.runs_dir / "notes").write_text("a file named like a run")
    (world.runs_dir / "loop").symlink_to(world.runs_dir / "loop")
    job = job_of(world, 1, "good")
    redis.flushall()

    troubles = reconcile(world.runs_dir, WorkList(world.redis.url))

    expected = [f"{each.id}-s00000".encode() for each in (job, damaged[3])]
    assert sorted(redis.lrange(QUEUE, 0, -1)) == sorted(expected)
    assert len(troubles) == 2
    assert all(damaged[each].id in str(troubles) for each in (0, 1))
