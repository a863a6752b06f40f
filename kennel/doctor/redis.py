"""Checks of Redis: reachable, durable, never evicting, not full, closed to others."""

from __future__ import annotations

import ipaddress
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from kennel.doctor.deployment import CheckResult, Deployment, fail, ok, unknown, warn
from kennel.stack.redis import can_be_filled
from models.environment import host_and_port
from models.errors import QueueUnavailableError
from service.auth.origins import is_loopback
from worker.eviction import NEVER_EVICTS, REMEDY
from worker.redis_health import RedisFacts, look_at_redis

MIN_VERSION: Final = (6, 2)
"""The first with BLMOVE, with which a worker takes a job in one step and loses none."""

_UPDATE: Final = (
    "update it: Redis 6.2.18, 7.2.8, 7.4.3 or 8, Valkey 7.2.9, 8.0.3, 8.1.1 or 9; till "
    "then client-output-buffer-limit normal 32mb 16mb 10 in redis.conf, as in ours"
)

_NEARLY_FULL: Final = 0.8

_EXPOSURE: Final = "exposure"
_OTHERS: Final = 0o007
_LISTENING: Final = "0A"


def check_redis(deployment: Deployment) -> Iterator[CheckResult]:
    """All checks of the deployment's Redis."""
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


def judge_version(info: Mapping[str, Any]) -> CheckResult:
    """Whether the server with the answer *info* to INFO is too old.

    Valkey also reports a ``redis_version`` of 7.2.4, which is not its own.
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


def _writable(facts: RedisFacts) -> CheckResult:
    if not facts.refusal:
        return ok("writable", "takes writes")
    remedy = "see the refusal: make room, repair its disk, or name the primary"
    return fail("writable", facts.refusal, remedy)


def _durable(facts: RedisFacts) -> Iterator[CheckResult]:
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


def _fsync(setting: str | None) -> CheckResult:
    if setting is None:
        remedy = "none if redis.conf is ours; else it needs appendfsync everysec"
        return unknown("fsync", "our user may not ask CONFIG, and should not", remedy)
    if setting == "no":
        return fail(
            "fsync", "appendfsync no: a power loss may take half a minute", "everysec"
        )
    return ok("fsync", f"appendfsync {setting}")


def _eviction(info: dict[str, Any]) -> CheckResult:
    policy = info.get("maxmemory_policy")
    if policy is None:
        return unknown("eviction", "our user may not ask INFO", "allow it: +info")
    if policy != NEVER_EVICTS:
        return fail("eviction", f"{policy}: it may drop queued work", REMEDY)
    return ok("eviction", str(policy))


def _memory(info: dict[str, Any]) -> CheckResult:
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


def _closed(facts: RedisFacts) -> CheckResult:
    if facts.is_open:
        seen = "it answers anyone, without name or password"
        remedy = "user default off, and a user of our own as in docker-compose.yml"
        return fail("closed", seen, remedy)
    return ok("closed", "asks for name and password")


def _user(facts: RedisFacts) -> CheckResult:
    if facts.powers:
        remedy = "give it the rules that docker-compose.yml gives the user kennel"
        return fail("user", f"ours may use {', '.join(facts.powers)}", remedy)
    return ok("user", "ours may not use FLUSHALL, CONFIG, KEYS or other keys")


def check_exposure(url: SplitResult) -> CheckResult:
    """Whether other machines or users can reach the Redis at *url* unencrypted.

    Raises:
        OSError: its socket is gone.
    """
    if url.scheme == "unix":
        return _socket(Path(url.path))
    if url.scheme == "rediss":
        return ok(_EXPOSURE, f"{url.hostname}, encrypted")
    if not is_loopback(url.hostname or "localhost"):
        remedy = "fine inside one machine's own network; across machines rediss://"
        return warn(_EXPOSURE, f"{url.hostname}, not encrypted", remedy)
    wide = wide_listeners(url.port or 6379)
    if wide:
        remedy = "bind 127.0.0.1 in redis.conf, or TLS"
        return fail(_EXPOSURE, f"it listens on {', '.join(wide)} as well", remedy)
    return ok(_EXPOSURE, "loopback only")


def _socket(path: Path) -> CheckResult:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        return fail(_EXPOSURE, f"socket of mode {mode:o}", "unixsocketperm 700")
    return ok(_EXPOSURE, f"socket of mode {mode:o}")


def wide_listeners(port: int, proc: Path = Path("/proc/net")) -> list[str]:
    """The addresses beyond loopback on which a program listens at *port*, sorted.

    Programs in another network namespace (a container) are not seen.
    """
    found = {
        str(address)
        for table in ("tcp", "tcp6")
        for address, its_port in _listeners(proc / table)
        if its_port == port and not address.is_loopback
    }
    return sorted(found)


def _listeners(
    table: Path,
) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, local, _, state = line.split()[:4]
        if state == _LISTENING:
            address, port = local.split(":")
            yield ipaddress.ip_address(_packed(address)), int(port, 16)


def _packed(address: str) -> bytes:
    # Words of 32 bits in the machine's own order (Linux, net/ipv4/tcp_ipv4.c).
    words = struct.unpack(f"!{len(address) // 8}I", bytes.fromhex(address))
    return b"".join(struct.pack("=I", word) for word in words)
