"""F26, F27, F29: a Redis that is full, evicts, forgets, or is open to everybody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ResponseError
from redis.retry import Retry

from kennel.stack.redis import redis_server_program
from service.auth.keys import read_rate
from service.auth.rate_limits import Limiter
from tests.conftest import RedisServer
from tests.fake_model_server import FakeModelServer
from tests.faults.api import api_of
from tests.faults.redis_servers import LocalStackRedis, running
from tests.worker.world import SHARD_SIZE, World, oracle, request, wait_until
from worker.redis_health import look_at_redis

FILLING = "x" * 100_000
JOB = {"input": "test"}
MOST_FOR_A_CLIENT = 48_000_000
"""Above the 32 MB that our configuration allows, below what the floods ask for."""


@contextmanager
def filled(world: World) -> Iterator[None]:
    """A Redis without room for anything, until the block ends."""
    with Redis.from_url(world.redis.url) as redis:
        redis.set("filling", FILLING)
        redis.config_set("maxmemory", "1")
        yield
        redis.config_set("maxmemory", "0")


def test_full_redis_takes_no_job_and_shows_none(world: World) -> None:
    world.photos_of(3)
    with api_of(world) as api, filled(world):
        response = api.post("/v1/jobs", json=JOB)

        assert response.status_code == 503
        assert response.get_json()["code"] == "queue_unavailable"
        assert api.get("/v1/jobs").get_json()["jobs"] == []
        assert world.leftovers() == []
    with api_of(world) as api:
        assert api.post("/v1/jobs", json=JOB).status_code == 202


def test_job_goes_on_when_there_is_room_again(world: World) -> None:
    world.photos_of(4 * SHARD_SIZE)
    expected = oracle(world, request())
    world.model_server.delay_seconds = 0.2
    job = world.queue.submit(request())
    world.start_reconciler()
    world.start_worker()
    world.wait_for_progress(job)
    with filled(world), pytest.raises(Exception, match="memory"):
        world.queue.ping(2)

    world.wait_for(job, "succeeded", 90)

    assert world.csv(job) == expected


def test_evicting_redis_takes_no_job_and_logs_how_to_mend_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.photos_of(3)
    with Redis.from_url(world.redis.url) as redis, api_of(world) as api:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        refused = api.post("/v1/jobs", json=JOB)
        readiness = api.get("/readyz")
        redis.config_set("maxmemory-policy", "noeviction")

        assert refused.status_code == 503
        assert refused.get_json()["code"] == "queue_unavailable"
        assert "maxmemory-policy noeviction" in caplog.text
        assert (readiness.status_code, readiness.get_json()["status"]) == (
            200,
            "degraded",
        )
        assert api.get("/readyz").get_json()["status"] == "ready"


def test_worker_waits_until_redis_keeps_work(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.photos_of(3)
    job = world.queue.submit(request())
    told = ""

    def has_told() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return "may drop queued work" in told

    with Redis.from_url(world.redis.url) as redis:
        redis.config_set("maxmemory-policy", "volatile-ttl")
        worker = world.start_worker()
        wait_until(has_told, 30)
        assert worker.poll() is None
        redis.config_set("maxmemory-policy", "noeviction")
    world.start_reconciler()

    world.wait_for(job, "succeeded")


def test_all_of_ours_works_under_the_confined_user(
    tmp_path: Path,
    confined: RedisServer,
    model_server: FakeModelServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    world = World(tmp_path, confined, model_server)
    try:
        world.photos_of(2 * SHARD_SIZE)
        expected = oracle(world, request())
        world.start_reconciler()
        world.start_worker()
        with api_of(world) as api:
            job = api.post("/v1/jobs", json=JOB).get_json()["id"]
            world.wait_for(world.queue.status(job), "succeeded")
            csv = world.queue.submission(job).read_text()
            model_server.delay_seconds = 1
            other = api.post("/v1/jobs", json=JOB).get_json()["id"]
            cancelled = api.post(f"/v1/jobs/{other}/cancel")
            model_server.delay_seconds = 0
            retried = api.post(f"/v1/jobs/{other}/retry")
            metrics = api.get("/metrics").get_data(as_text=True)
            world.wait_for(world.queue.status(other), "succeeded")
    finally:
        world.close()

    log = capfd.readouterr().err
    assert csv == expected
    assert (cancelled.status_code, retried.status_code) == (200, 200)
    assert "worker_last_heartbeat_timestamp_seconds" in metrics
    assert "NOPERM" not in log
    assert "WARNING" not in log


def test_rates_are_counted_together_under_the_confined_user(
    confined: RedisServer,
) -> None:
    processes = [Limiter(confined.url) for _ in range(2)]

    assert [each.charge(read_rate("1/day"), "me") for each in processes] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("CONFIG", "GET", "port"),
        ("KEYS", "*"),
        ("SHUTDOWN",),
        ("DEBUG", "SLEEP", "0"),
        ("CLIENT", "LIST"),
        ("ACL", "LIST"),
        ("GET", "other"),
        ("PUBLISH", "rq:pubsub:anybody", "stop"),
    ],
    ids="-".join,
)
def test_confined_user_may_do_our_work_only(
    confined: RedisServer, command: tuple[str, ...]
) -> None:
    redis: Any = Redis.from_url(confined.url)
    # Valkey forbids DEBUG to everybody before it looks at permissions.
    with redis, pytest.raises(ResponseError, match=r"permission|command not allowed"):
        redis.execute_command(*command)


def test_nobody_comes_in_without_a_name(confined: RedisServer) -> None:
    with (
        Redis(port=confined.port, retry=Retry(NoBackoff(), 0)) as redis,
        pytest.raises(AuthenticationError),
    ):
        redis.ping()


def test_password_of_an_earlier_stack_goes_on_working(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "password").write_text("chosen-before\n")
    with running(LocalStackRedis(folder)) as server:
        assert server.url.startswith("redis://kennel:chosen-before@")
        assert look_at_redis(server.url).refusal == ""


def flood(port: int, commands: bytes, max_bytes: int) -> None:
    """Send *commands* again and again, and read no answer, until Redis hangs up."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(5)
        with suppress(OSError):
            for _ in range(max_bytes // len(commands)):
                client.sendall(commands)


def peak_memory(server: RedisServer) -> int:
    with Redis.from_url(server.url) as redis:
        info: Any = redis.info("memory")
        return int(info["used_memory_peak"])


def test_client_without_a_password_cannot_fill_redis(confined: RedisServer) -> None:
    before = peak_memory(confined)
    for _ in range(3):
        flood(confined.port, b"PING\r\n" * 10_000, 30_000_000)

    assert peak_memory(confined) - before < MOST_FOR_A_CLIENT


def test_client_that_reads_no_answer_cannot_fill_redis(confined: RedisServer) -> None:
    """Our own, gone wrong: it is let go when 32 MB of answers wait for it."""
    with Redis.from_url(confined.url) as redis:
        redis.set("rq:large", "x" * 1_000_000)
    password = urlsplit(confined.url).password
    login = f"AUTH kennel {password}\r\n".encode()
    flood(confined.port, login + b"GET rq:large\r\n" * 400, 10_000)

    assert peak_memory(confined) < MOST_FOR_A_CLIENT


def test_long_answers_arrive_whole(confined: RedisServer) -> None:
    """Ten times the longest that the queue needs: its ids, of 100,000 shards."""
    ids = [f"{number:032x}-s{number}" for number in range(100_000)]
    with Redis.from_url(confined.url) as redis:
        redis.rpush("rq:queue:long", *ids)

        assert len(redis.lrange("rq:queue:long", 0, -1)) == len(ids)


def test_file_of_an_earlier_redis_is_read(tmp_path: Path) -> None:
    """Before version 7 it was one file, not a folder of several."""
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "appendonly.aof").write_bytes(
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"
        b"*3\r\n$3\r\nSET\r\n$5\r\nrq:it\r\n$4\r\nkept\r\n"
    )
    with (
        running(LocalStackRedis(folder)) as server,
        Redis.from_url(server.url) as redis,
    ):
        assert redis.get("rq:it") == b"kept"


@pytest.mark.parametrize(
    ("on_path", "taken"),
    [
        ({"redis-server": "Redis server v=6.2.14 sha=0"}, None),
        ({"redis-server": "Redis server v=7.0.15 sha=0"}, "redis-server"),
        ({"redis-server": "Redis server v=7.4.2 sha=0"}, "redis-server"),
        ({"redis-server": "what?"}, "redis-server"),
        ({"valkey-server": "Valkey server v=8.1.8 sha=0"}, "valkey-server"),
        (
            {
                "redis-server": "Redis server v=7.2.7 sha=0",
                "valkey-server": "Valkey server v=9.0.0 sha=0",
            },
            "valkey-server",
        ),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_program_that_anybody_can_fill_is_passed_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_path: dict[str, str],
    taken: str | None,
) -> None:
    """None taken from PATH: the package's own."""
    for name, version in on_path.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{version}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    program = Path(redis_server_program())

    assert program.parent == tmp_path if taken else program.name == "valkey-server"
    assert taken in {None, program.name}
