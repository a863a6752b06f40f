"""When workers were heard of last, as RQ notes it in Redis."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from redis import Redis
from rq.utils import utcparse
from rq.worker_registration import WORKERS_BY_QUEUE_KEY


def last_heartbeat(connection: Redis, queue_name: str) -> float | None:
    """The latest heartbeat of any worker of the queue, in seconds since the epoch.

    None: no worker is registered.

    Raises:
        RedisError: Redis is away.
    """
    workers: Any = connection.smembers(WORKERS_BY_QUEUE_KEY % queue_name)
    with connection.pipeline(transaction=False) as pipeline:
        for worker in workers:
            pipeline.hget(worker, "last_heartbeat")
        answers = pipeline.execute(raise_on_error=False)
    moments = [moment for each in answers if (moment := read_moment(each)) is not None]
    return max(moments).timestamp() if moments else None


def read_moment(raw: Any) -> datetime | None:
    """A time as RQ writes it; None if *raw* is something else."""
    if not isinstance(raw, bytes):
        return None
    try:
        return utcparse(raw.decode())
    except ValueError:
        return None
