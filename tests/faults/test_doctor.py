"""F27, F29: the doctor refuses a Redis that evicts, forgets, or is open to everybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from kennel.cli import main
from tests.conftest import RedisServer
from tests.faults.redis_servers import ConfiguredRedis, running


def doctor(*areas: str, **env: str) -> Result:
    return CliRunner(env=env).invoke(main, ["doctor", *areas, "--json"])


def verdicts(result: Result) -> dict[str, str]:
    found = json.loads(result.stdout)["findings"]
    return {each["check"]: each["verdict"] for each in found}


def test_doctor_accepts_the_local_stacks_redis(confined: RedisServer) -> None:
    result = doctor("redis", REDIS_URL=confined.url)

    assert result.exit_code == 0, result.output
    assert set(verdicts(result).values()) == {"ok", "unchecked"}
    assert verdicts(result)["fsync"] == "unchecked"


def test_doctor_finds_the_local_stack_by_itself(
    tmp_path: Path, confined: RedisServer
) -> None:
    result = doctor("redis", KENNEL_HOME=str(tmp_path), REDIS_URL="")

    assert verdicts(result)["reachable"] == "ok"


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "eviction"),
        ({"appendonly": "no"}, "durable"),
        ({"appendfsync": "no"}, "fsync"),
        ({}, "closed"),
        ({"requirepass": "long-enough"}, "user"),
        ({"maxmemory": "1"}, "writable"),
        ({"maxmemory": "1"}, "memory"),
    ],
)
def test_doctor_refuses(tmp_path: Path, settings: dict[str, str], check: str) -> None:
    with running(ConfiguredRedis(tmp_path / "redis", **settings)) as server:
        secret = ":long-enough@" if "requirepass" in settings else ""
        url = server.url.replace("//", f"//{secret}")
        result = doctor("redis", REDIS_URL=url)

    found = json.loads(result.stdout)["findings"]
    failed = {each["check"]: each for each in found if each["verdict"] == "failed"}
    assert result.exit_code == 1
    assert failed[check]["remedy"]


def test_doctor_changes_nothing(tmp_path: Path) -> None:
    with running(ConfiguredRedis(tmp_path / "redis")) as server:
        with Redis.from_url(server.url) as redis:
            redis.set("precious", "1")
            before: Any = redis.info("persistence")

            doctor("redis", "jobs", REDIS_URL=server.url, KENNEL_HOME=str(tmp_path))

            after: Any = redis.info("persistence")
            assert redis.keys() == [b"precious"]
        assert after["aof_current_size"] == before["aof_current_size"]


def test_doctor_says_what_is_missing_when_the_password_is(
    confined: RedisServer,
) -> None:
    result = doctor("redis", REDIS_URL=f"redis://127.0.0.1:{confined.port}")

    assert result.exit_code == 1
    assert "does not let us in" in result.stdout
    assert "Traceback" not in result.output
