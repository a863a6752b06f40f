"""Metrics collected at a scrape: job states from folders, events from Redis."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from models.files import write_atomically
from models.wire.client import ModelServerClient
from service.telemetry.collectors import JobMetrics, SeenJobs, WorkMetrics
from tests.finished_runs import finish_run
from tests.worker.world import PATIENCE, World, request
from worker.assembly import assemble_run
from worker.reconciler import reconcile
from worker.run import Run
from worker.runs import find_run
from worker.shards import finish_shard
from worker.sources.local import LocalFolder
from worker.worklist import WorkList

PHOTOS = 10


@pytest.fixture
def world(world: World) -> World:
    world.photos_of(PHOTOS)
    return world


class Process:
    """One process of a service, which looks anew at every scrape."""

    def __init__(self, world: World, folder: Path | None = None) -> None:
        self._registry = CollectorRegistry()
        self._jobs = JobMetrics(self._registry, world.queue, SeenJobs(folder), 0.0)
        self._work = WorkMetrics(world.queue, 0.0)

    def scrape(self) -> dict[str, float]:
        found = [*self._jobs.collect(), *self._work.collect()]
        families = [*found, *self._registry.collect()]
        return {
            "/".join([each.name, *each.labels.values()]): each.value
            for family in families
            for each in family.samples
        }


def submit(world: World) -> Run:
    return find_run(world.runs_dir, world.queue.submit(request()).id)


def work(world: World, run: Run) -> None:
    """All shards of *run*, as its workers would."""
    run.begin()
    with ModelServerClient(world.model_server.target) as client:
        for number in run.missing_shards():
            finish_shard(
                run,
                number,
                LocalFolder(world.photos, "test"),
                partial(PATIENCE.predict, client),
            )


def test_states_are_gauges_and_ends_are_counted(world: World) -> None:
    queued, running, done = (submit(world) for _ in range(3))
    running.begin()
    work(world, done)
    finish_run(done, "id,label\n", {})

    seen = Process(world).scrape()

    assert queued.id != running.id
    assert seen["jobs_queued/kennel"] == 1
    assert seen["jobs_running/kennel"] == 1
    assert seen["job_oldest_queued_seconds/kennel"] > 0
    assert seen["jobs_total/kennel/succeeded"] == 1
    assert seen["jobs_total/kennel/failed"] == 0
    assert seen["job_images_total/kennel/ok"] == PHOTOS
    assert seen["job_duration_seconds_count/kennel"] == 1


def test_unreadable_images_are_counted_apart(world: World) -> None:
    (world.photos / "1.png").write_bytes(b"no image")
    process, run = Process(world), submit(world)
    work(world, run)
    running = process.scrape()
    assemble_run(run)
    ended = process.scrape()

    for seen in (running, ended):
        assert seen["job_images_total/kennel/unreadable"] == 1
        assert seen["job_images_total/kennel/ok"] == PHOTOS - 1
        assert seen["job_recent_images/kennel/unreadable"] == 1
        assert seen["job_recent_images/kennel/ok"] == PHOTOS - 1
    os.utime(run.report, (0, 0))
    assert process.scrape()["job_recent_images/kennel/unreadable"] == 0


def test_retried_job_does_not_take_its_failure_back(world: World) -> None:
    process, run = Process(world), submit(world)
    totals = []
    for _ in range(2):
        run.fail("a test")
        totals.append(process.scrape()["jobs_total/kennel/failed"])
        world.queue.retry(run.id)
        totals.append(process.scrape()["jobs_total/kennel/failed"])

    assert totals == [1, 1, 2, 2]


def test_each_event_is_counted_by_one_process(world: World, tmp_path: Path) -> None:
    processes = [Process(world, tmp_path), Process(world, tmp_path)]
    run = submit(world)
    before = [process.scrape() for process in processes]
    work(world, run)
    finish_run(run, "id,label\n", {})

    after = [process.scrape() for process in [*processes, Process(world, tmp_path)]]

    ended, images = "jobs_total/kennel/succeeded", "job_images_total/kennel/ok"
    assert sum(each[ended] for each in before) == 0
    assert [each[ended] for each in after] == [1, 0, 0]
    assert sum(each[images] for each in after) == PHOTOS


def test_last_heartbeat_of_any_worker_is_shown(world: World) -> None:
    with Redis.from_url(world.redis.url) as connection:
        for name, moment in (("a", "2026-01-01T00:00:00.000000Z"), ("b", "")):
            connection.sadd("rq:workers:kennel", f"rq:worker:{name}")
            connection.hset(f"rq:worker:{name}", "last_heartbeat", moment)

    seen = Process(world).scrape()

    name = "worker_last_heartbeat_timestamp_seconds/kennel"
    assert seen[name] == 1_767_225_600


def test_only_workers_that_redis_still_hears_count_as_living(world: World) -> None:
    with Redis.from_url(world.redis.url) as connection:
        for name, left in (("idle", 80), ("busy", 60), ("dead", 20)):
            connection.sadd("rq:workers:kennel", f"rq:worker:{name}")
            connection.hset(f"rq:worker:{name}", "last_heartbeat", "")
            connection.expire(f"rq:worker:{name}", left)

    assert Process(world).scrape()["workers_live/kennel"] == 2


def test_queued_shards_and_their_age_are_shown(world: World) -> None:
    submit(world)

    seen = Process(world).scrape()

    assert seen["work_queued/kennel"] > 0
    assert 0 < seen["work_oldest_queued_seconds/kennel"] < 60


def test_running_jobs_rest_since_their_last_shard(world: World) -> None:
    slow, quick, queued = (submit(world) for _ in range(3))
    for run, age_seconds in ((slow, 5000), (quick, 1000), (queued, 9000)):
        moment = time.time() - age_seconds
        work(world, run)
        for path in (run.start, *(run.folder / "shards").glob("[0-9]*.json")):
            os.utime(path, (moment, moment))
        write_atomically(run.start, "2026-01-01T00:00:00+00:00")
    finish_run(queued, "id,label\n", {})

    seen = Process(world).scrape()

    assert 5000 < seen["job_longest_rest_seconds/kennel"] < 5060
    assert 1000 < seen["job_shortest_rest_seconds/kennel"] < 1060


def test_jobs_are_shown_by_state(world: World) -> None:
    submit(world)
    world.queue.cancel(submit(world).id)

    seen = Process(world).scrape()

    assert seen["jobs_present/kennel/queued"] == 1
    assert seen["jobs_present/kennel/cancelled"] == 1
    assert seen["jobs_present/kennel/running"] == 0


def test_redis_of_the_queue_is_judged(world: World) -> None:
    process = Process(world)
    before = process.scrape()
    with Redis.from_url(world.redis.url) as connection:
        connection.config_set("appendonly", "no")
        connection.config_set("maxmemory-policy", "allkeys-lru")
    careless = process.scrape()
    world.redis.kill()
    away = process.scrape()

    names = ("redis_up", "redis_takes_work", "redis_durable")
    assert [before.get(name) for name in names] == [1, 1, 1]
    assert [careless.get(name) for name in names] == [1, 0, 0]
    assert [away.get(name) for name in names] == [0, 0, None]


def test_last_look_of_the_reconciler_is_shown(world: World) -> None:
    process = Process(world)
    before = process.scrape()
    reconcile(world.runs_dir, WorkList(world.redis.url))

    name = "reconciler_last_look_timestamp_seconds"
    assert name not in before
    assert process.scrape()[name] == pytest.approx(time.time(), abs=60)


def test_jobs_are_shown_while_redis_is_away(world: World) -> None:
    submit(world)
    world.redis.kill()

    seen = Process(world).scrape()

    assert seen["jobs_queued/kennel"] == 1
    assert not [name for name in seen if name.startswith("worker_last")]


def test_room_on_the_disk_is_shown(world: World) -> None:
    assert Process(world).scrape()["job_disk_free_bytes"] > 0
