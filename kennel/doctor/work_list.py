"""Redis: reachable, durable, never evicting, not full, and closed to everybody else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from kennel.doctor.deployment import Deployment
from kennel.doctor.exposure import check_exposure
from kennel.doctor.finding import Finding, fail, ok, unknown, warn
from kennel.stack.redis_config import can_be_filled
from models.environment import host_and_port
from models.errors import QueueUnavailableError
from worker.eviction import NEVER_EVICTS, REMEDY
from worker.redis_health import RedisFacts, look_at_redis

MIN_VERSION: Final = (6, 2)
"""Since then a worker takes a job in one step (BLMOVE) and cannot lose it."""

_UPDATE: Final = (
    "update it: Redis 6.2.18, 7.2.8, 7.4.3 or 8, Valkey 7.2.9, 8.0.3, 8.1.1 or 9; till "
    "then client-output-buffer-limit normal 32mb 16mb 10 in redis.conf, as in ours"
)

_NEARLY_FULL: Final = 0.8


def check_redis(deployment: Deployment) -> Iterator[Finding]:
    """All about the Redis of the deployment."""
    url = urlsplit(deployment.redis_url)
    where = host_and_port(url.hostname or "", url.port or 6379)
    where = url.path if url.scheme == "unix" else where
    try:
        facts = look_at_redis(deployment.redis_url)
    except QueueUnavailableError as error:
        remedy = "start it (kennel up, docker compose up -d) or correct REDIS_URL"
        yield fail("reachable", f"{where}: {error}", remedy)
        return
    yield ok("reachable", f"{where} answers")
    yield judge_version(facts.info)
    yield _writable(facts)
    yield from _durable(facts)
    yield _eviction(facts.info)
    yield _memory(facts.info)
    yield _closed(facts)
    yield _user(facts)
    yield check_exposure(url)


def judge_version(info: Mapping[str, Any]) -> Finding:
    """Whether the server that says *info* of itself is too old.

    Valkey calls itself Redis 7.2.4 beside its own name.
    """
    name = "Valkey" if "valkey_version" in info else "Redis"
    text = str(info.get(f"{name.lower()}_version", ""))
    numbers = tuple(int(part) for part in text.split(".") if part.isdigit())
    if not numbers:
        return unknown("version", "our user may not ask INFO", "allow it: +info")
    if numbers < MIN_VERSION:
        return fail("version", text, "a worker that dies may lose a job: 6.2 or newer")
    fillable = can_be_filled(name, text)
    if fillable is None:
        why = f"only distributions fix {name} {text} (CVE-2025-21605), unnumbered"
        return unknown("version", why, f"see that yours has; else {_UPDATE}")
    if fillable:
        harm = "a client without a password can fill its memory (CVE-2025-21605)"
        return warn("version", f"{name} {text}: {harm}", _UPDATE)
    return ok("version", f"{name} {text}")


def _writable(facts: RedisFacts) -> Finding:
    if not facts.refusal:
        return ok("writable", "takes writes")
    remedy = "see the refusal: make room, mend its disk, or name the primary"
    return fail("writable", facts.refusal, remedy)


def _durable(facts: RedisFacts) -> Iterator[Finding]:
    if "aof_enabled" not in facts.info:
        yield unknown("durable", "our user may not ask INFO", "allow it: +info")
        return
    if not facts.info["aof_enabled"]:
        seen = (
            "no append-only file: a restart forgets every queued job, and rate limits"
        )
        yield fail(
            "durable", seen, "appendonly yes, appendfsync everysec in redis.conf"
        )
        return
    status = facts.info.get("aof_last_write_status", "ok")
    if status != "ok":
        yield fail("durable", f"its last write: {status}", "make room on Redis's disk")
        return
    yield ok("durable", "append-only file")
    yield _fsync(facts.append_fsync)


def _fsync(setting: str | None) -> Finding:
    if setting is None:
        remedy = "none if redis.conf is ours; else it needs appendfsync everysec"
        return unknown("fsync", "our user may not ask CONFIG, and should not", remedy)
    if setting == "no":
        return fail(
            "fsync", "appendfsync no: a power loss may take half a minute", "everysec"
        )
    return ok("fsync", f"appendfsync {setting}")


def _eviction(info: dict[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy is None:
        return unknown("eviction", "our user may not ask INFO", "allow it: +info")
    if policy != NEVER_EVICTS:
        return fail("eviction", f"{policy}: it may drop queued work", REMEDY)
    return ok("eviction", str(policy))


def _memory(info: dict[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    seen = f"{used / 1e6:.0f} MB used"
    if not limit:
        remedy = "maxmemory 256mb in redis.conf: a full machine would stop everything"
        return warn("memory", f"{seen}, no limit", remedy)
    seen = f"{seen} of {limit / 1e6:.0f} MB"
    if used > _NEARLY_FULL * limit:
        return fail(
            "memory", seen, "raise maxmemory, or find what else fills this Redis"
        )
    return ok("memory", seen)


def _closed(facts: RedisFacts) -> Finding:
    if facts.is_open:
        seen = "it answers anyone, without name or password"
        remedy = "user default off, and a user of our own as in docker-compose.yml"
        return fail("closed", seen, remedy)
    return ok("closed", "asks for name and password")


def _user(facts: RedisFacts) -> Finding:
    if facts.powers:
        remedy = "give it the rules that docker-compose.yml gives the user kennel"
        return fail("user", f"ours may use {', '.join(facts.powers)}", remedy)
    return ok("user", "ours may not use FLUSHALL, CONFIG, KEYS or other keys")
