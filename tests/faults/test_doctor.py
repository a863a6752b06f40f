"""F27, F29: the doctor refuses a Redis that evicts, forgets, or is open to everybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from kennel.cli import main
from kennel.doctor.redis import judge_version
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


@pytest.mark.parametrize(
    ("name", "version", "verdict"),
    [
        ("redis", "6.0.16", "failed"),
        ("redis", "6.2.14", "warning"),
        ("redis", "6.2.18", "ok"),
        ("redis", "7.0.15", "unchecked"),
        ("redis", "7.2.7", "warning"),
        ("redis", "7.4.3", "ok"),
        ("redis", "8.0.0", "ok"),
        ("valkey", "7.2.8", "warning"),
        ("valkey", "8.0.3", "ok"),
        ("valkey", "9.1.2", "ok"),
    ],
)
def test_doctor_knows_servers_that_anybody_can_fill(
    name: str, version: str, verdict: str
) -> None:
    """CVE-2025-21605; Valkey says redis_version:7.2.4 for old clients."""
    info = {"redis_version": "7.2.4", f"{name}_version": version}
    finding = judge_version(info)

    assert finding.verdict == verdict
    assert version in finding.seen
    assert bool(finding.remedy) == (verdict != "ok")


def test_doctor_looks_at_the_server_that_kennel_up_would_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=7.4.2 sha=0'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = json.loads(doctor("machine").stdout)["findings"]
    (finding,) = [each for each in found if each["check"] == "redis-server"]

    assert finding["verdict"] == "warning"
    assert str(program) in finding["seen"]
    assert "7.4.3" in finding["remedy"]
