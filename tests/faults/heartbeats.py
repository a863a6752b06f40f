"""Heartbeats of dead workers, expired at once in Redis.

Recovery in real time is tested where its seconds are what is promised (F5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis

from worker.liveness import HEARTBEAT_SECONDS


def expire_heartbeats(redis_url: str, shards: Sequence[str]) -> None:
    """As if nobody had spoken for these *shards*, by their ids in the queue, for long.

    Their workers are dead or stopped: one that lives speaks again within a second.
    """
    with Redis.from_url(redis_url) as connection:
        for shard in shards:
            key = f"rq:executions:{shard}"
            left: Any = connection.pttl(key)
            connection.pexpire(key, max(1, int(left - 1000 * HEARTBEAT_SECONDS)))


def shards_of(redis_url: str, workers: Sequence[int]) -> list[str]:
    """What the *workers*, which were killed or are stopped, have in work."""
    found: list[str] = []
    with Redis.from_url(redis_url) as connection:
        names: Any = connection.smembers("rq:workers")
        for name in names:
            pid, shard = connection.hmget(name, "pid", "current_job")
            if pid is not None and int(pid) in workers and shard:
                found.append(shard.decode())
    return found
