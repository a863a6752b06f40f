"""What ends a job with a reason, what must be waited out, and what must never run."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from redis import Redis
from rq import Callback, Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from models.errors import (
    ConflictError,
    InvalidRequestError,
    ModelContractError,
    ModelUnavailableError,
)
from models.images import Pixels
from models.wire.client import ModelRef, ModelServerClient
from tests.worker.world import (
    SHARD_SIZE,
    World,
    begun_attempts,
    children,
    oracle,
    request,
    wait_until,
)
from worker.patience import Patience
from worker.reconciler import reconcile
from worker.settings import WorkerSettings
from worker.worklist import WorkList

QUEUE = "rq:queue:kennel"


def test_shard_that_kills_its_process_ends_the_job(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    world.model_server.delay_seconds = 5
    job = world.queue.submit(request())
    world.start_reconciler()
    worker = world.start_worker()

    killed = 0

    def failed_or_killed_again() -> bool:
        nonlocal killed
        if begun_attempts(world, job, 0) > killed:
            killed += 1
            for pid in children(worker):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return world.queue.status(job.id).state == "failed"

    wait_until(failed_or_killed_again, 60)

    error = str(world.queue.status(job.id).error)
    assert begun_attempts(world, job, 0) == 10
    assert "its process died" in error
    assert "1.png, 2.png" in error
    assert worker.poll() is None
    assert not (world.runs_dir / job.id / "submission.csv").exists()


def test_model_that_answers_nonsense_ends_the_job(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request(labels=("a", "b", "c"), format="full"))
    world.start_worker()

    failed = world.wait_for(job, "failed")

    assert "3 labels" in str(failed.error)
    assert not (world.runs_dir / job.id / "submission.csv").exists()


def test_version_that_is_not_served_any_more_ends_the_job(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    world.model_server.versions = (2, 3)
    job = world.queue.submit(request(version=1))
    world.start_worker()

    failed = world.wait_for(job, "failed")

    assert "not served any more" in str(failed.error)


def ask(world: World, *, wait_seconds: float = 5, over: bool = False) -> Any:
    patience = Patience(wait_seconds, pause=lambda _: False, is_over=lambda: over)
    with ModelServerClient(world.model_server.target) as client:
        return patience.predict(client, _batch(), ModelRef("pets", version=1))


def _batch() -> Pixels:
    return np.zeros((2, 32, 32, 3), dtype=np.uint8)


def test_model_that_comes_back_is_waited_for(world: World) -> None:
    world.model_server.failure = grpc.StatusCode.UNAVAILABLE
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 3:
            world.model_server.failure = None
        return False

    patience = Patience(60, pause, is_over=lambda: False)
    with ModelServerClient(world.model_server.target) as client:
        answer = patience.predict(client, _batch(), ModelRef("pets", version=1))

    assert len(answer.probabilities) == 2
    assert pauses == [0.2, 0.4, 0.8]


@pytest.mark.parametrize("versions", [(), (1,)])
def test_model_that_is_not_loaded_yet_is_waited_for(
    world: World, versions: tuple[int, ...]
) -> None:
    world.model_server.versions = ()
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        world.model_server.versions = versions if len(pauses) < 3 else (1,)
        return False

    patience = Patience(60, pause, is_over=lambda: False)
    with ModelServerClient(world.model_server.target) as client:
        answer = patience.predict(client, _batch(), ModelRef("pets", version=1))

    assert answer.version == 1


def test_model_that_stays_away_is_given_up_at_the_limit(world: World) -> None:
    world.model_server.failure = grpc.StatusCode.UNAVAILABLE

    with pytest.raises(ModelUnavailableError, match="away"):
        ask(world, wait_seconds=0.1)


def test_broken_model_is_not_waited_for(world: World) -> None:
    world.model_server.failure = grpc.StatusCode.INVALID_ARGUMENT

    with pytest.raises(ModelContractError):
        ask(world)


def test_ended_run_asks_nothing(world: World) -> None:
    with pytest.raises(ConflictError):
        ask(world, over=True)

    assert world.model_server.batches == []


def push(world: World, function: str, *args: Any, **options: Any) -> Job:
    queue = Queue(
        "kennel",
        connection=Redis.from_url(world.redis.url),
        serializer=JSONSerializer,
    )
    return queue.enqueue_call(function, args=list(args), **options)


def test_foreign_function_is_not_run(world: World, tmp_path: Path) -> None:
    target = tmp_path / "owned"
    foreign = push(world, "os.system", f"touch {target}")
    pickled = Queue("kennel", connection=Redis.from_url(world.redis.url))
    pickled.enqueue_call("os.system", args=(f"touch {target}",))
    called = Callback(f"{__name__}.call")
    known = push(world, "worker.jobs.assemble", "nope", on_success=called)
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request())
    worker = world.start_worker()

    world.wait_for(job, "succeeded")

    assert not target.exists()
    assert foreign.get_status() == "failed"
    assert known.get_status() == "finished"
    assert worker.poll() is None


def test_unreadable_job_does_not_end_the_worker(world: World) -> None:
    broken = push(world, "worker.jobs.assemble", "nope", job_id="broken")
    connection = broken.connection
    connection.hset(broken.key, "timeout", "abc")
    connection.rpush(QUEUE, "bad id with spaces")
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request())
    worker = world.start_worker()
    world.wait_for(job, "succeeded")

    reconcile(world.runs_dir, WorkList(world.redis.url))

    assert worker.poll() is None
    assert connection.llen(f"{QUEUE}:intermediate") == 0
    assert not connection.exists(broken.key)


def test_shard_lost_between_queue_and_worker_is_found(world: World) -> None:
    world.photos_of(2 * SHARD_SIZE)
    expected = oracle(world, request())
    job = world.queue.submit(request())
    with Redis.from_url(world.redis.url) as connection:
        connection.lmove(QUEUE, f"{QUEUE}:intermediate")
        for key in (f"{job.id}-s00000", f"{job.id}-s00001"):
            connection.set(f"rq:kennel:fetched:{key}", "0")
    reconcile(world.runs_dir, WorkList(world.redis.url))
    world.start_worker()

    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected


def test_reconciling_a_healthy_run_queues_nothing_twice(world: World) -> None:
    world.photos_of(5 * SHARD_SIZE)
    world.queue.submit(request())
    work_list = WorkList(world.redis.url)
    for _ in range(3):
        reconcile(world.runs_dir, work_list)

    with Redis.from_url(world.redis.url) as connection:
        assert connection.llen(QUEUE) == 5


def test_damaged_artefact_is_worked_again(world: World) -> None:
    world.photos_of(3 * SHARD_SIZE)
    expected = oracle(world, request())
    job = world.queue.submit(request())
    (world.runs_dir / job.id / "shards" / "00001.json").write_text('{"rows": [')
    world.start_reconciler()
    world.start_worker()

    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected


def test_crash_before_the_assembly_is_mended(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    expected = oracle(world, request())
    job = world.queue.submit(request())
    worker = world.start_worker()
    world.wait_for(job, "succeeded")
    worker.kill()
    worker.wait()
    (world.runs_dir / job.id / "report.json").unlink()
    (world.runs_dir / job.id / "submission.csv").write_text("id,la")
    world.start_reconciler()
    world.start_worker()

    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected
    report = json.loads((world.runs_dir / job.id / "report.json").read_text())
    assert report["images"] == SHARD_SIZE


def test_workers_leave_no_stale_entries_in_rq(world: World) -> None:
    world.photos_of(6 * SHARD_SIZE)
    job = world.queue.submit(request())
    for _ in range(2):
        world.start_worker()
    world.wait_for(job, "succeeded")

    with Redis.from_url(world.redis.url) as connection:
        wait_until(lambda: connection.zcard("rq:wip:kennel") == 0, 5)
        assert len(Worker.all_keys(connection)) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "localhost"),
        ("MODEL_SERVER", "localhost"),
        ("MODEL_WAIT_SECONDS", "soon"),
        ("MODEL_WAIT_SECONDS", "100000"),
        ("RECONCILE_SECONDS", "0"),
        ("RECONCILE_SECONDS", "nan"),
        ("QUEUE_NAME", "a b"),
    ],
)
def test_malformed_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        WorkerSettings.from_env({name: value})


def test_settings_default_below_kennel_home() -> None:
    settings = WorkerSettings.from_env({"KENNEL_HOME": "/srv/kennel", "RUNS_DIR": ""})

    assert settings.runs_dir == Path("/srv/kennel/runs")
    assert settings.input_root == Path("/srv/kennel/data")
    assert settings.model_wait_seconds == 600
