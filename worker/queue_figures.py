"""What monitoring needs to know of the queue itself: its Redis, its workers, its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from redis import Redis
from redis.exceptions import NoPermissionError
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from worker.allowed import AllowedJob
from worker.heartbeats import last_heartbeat, read_moment

_LOOKED_AT: Final = 256
"""More than the window of a hundred workers; a longer line is sampled at its front."""

_LIVING_MILLISECONDS: Final = 30_000
"""What Redis still gives an entry whose worker lives: RQ lets it expire 60 s after the
word of a busy worker, who speaks each second, and 90 s after that of an idle one, who
speaks each 15 s."""


@dataclass(frozen=True)
class QueueFigures:
    """One look at a queue.

    Attributes:
        waiting: pieces of work (shards, assemblies) that no worker has fetched.
        oldest: when the one that waits longest was queued, in seconds since the epoch;
            None: none waits.
        workers: those that spoke lately, by Redis's own clock.
        last_heartbeat: when any worker spoke last, as `oldest`; None: none is known.
        durable: Redis writes what it is told to its log; None: we may not ask.
    """

    waiting: int
    oldest: float | None
    workers: int
    last_heartbeat: float | None
    durable: bool | None


def read_queue_figures(connection: Redis, queue_name: str) -> QueueFigures:
    """What the Redis of *connection* holds of the queue.

    Raises:
        RedisError: Redis is away.
    """
    waiting: Any = connection.llen(f"rq:queue:{queue_name}")
    return QueueFigures(
        waiting=waiting,
        oldest=oldest_queued(connection, queue_name),
        workers=_living_workers(connection, queue_name),
        last_heartbeat=last_heartbeat(connection, queue_name),
        durable=_is_durable(connection),
    )


def oldest_queued(connection: Redis, queue_name: str) -> float | None:
    """When that which waits longest was queued, in seconds since the epoch.

    None: nothing waits.

    Raises:
        RedisError: Redis is away.
    """
    # All of them: what is urgent is put in front of what has waited longer.
    ids: Any = connection.lrange(f"rq:queue:{queue_name}", 0, _LOOKED_AT - 1)
    with connection.pipeline(transaction=False) as pipeline:
        for raw in ids:
            id_ = raw.decode(errors="replace")
            pipeline.hget(AllowedJob.key_for(id_), "enqueued_at")
        answers = pipeline.execute(raise_on_error=False)
    moments = [moment for each in answers if (moment := read_moment(each)) is not None]
    return min(moments).timestamp() if moments else None


def _living_workers(connection: Redis, queue_name: str) -> int:
    entries: Any = connection.smembers(WORKERS_BY_QUEUE_KEY % queue_name)
    with connection.pipeline(transaction=False) as pipeline:
        for entry in entries:
            pipeline.pttl(entry)
        left = pipeline.execute(raise_on_error=False)
    return sum(isinstance(each, int) and each > _LIVING_MILLISECONDS for each in left)


def _is_durable(connection: Redis) -> bool | None:
    try:
        found: Any = connection.info("persistence")
    except NoPermissionError:
        return None
    written = found.get("aof_last_write_status", "ok") == "ok"
    return bool(written and found.get("aof_enabled") == 1)
