"""What can be seen of the queue without changing it; `kennel doctor` judges."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from models.errors import QueueUnavailableError
from worker.allowed import AllowedJob
from worker.heartbeats import last_heartbeat
from worker.queue_figures import oldest_queued
from worker.registered import RegisteredWorker, registered_workers
from worker.settings import WorkerSettings

_TIMEOUT_SECONDS: Final = 2.0
_LOOKED_AT: Final = 1000


@dataclass(frozen=True)
class QueueFacts:
    """One look at a queue.

    Attributes:
        waiting: how many pieces of work wait.
        orphans: those that wait or were fetched whose job is not there any more, among
            the first thousand.
        silence_seconds: since a worker was heard of; None: none is registered.
        oldest_seconds: how long the first in the queue has waited; None: nothing waits.
        clock_ahead_seconds: Redis's clock against ours.
    """

    waiting: int
    orphans: tuple[str, ...]
    silence_seconds: float | None
    clock_ahead_seconds: float
    workers: tuple[RegisteredWorker, ...]
    oldest_seconds: float | None


def look_at_queue(redis_url: str, settings: WorkerSettings) -> QueueFacts:
    """What the Redis at *redis_url* holds of the queue of *settings*.

    Raises:
        QueueUnavailableError: it does not answer.
    """
    try:
        with closing(
            Redis.from_url(
                redis_url,
                socket_timeout=_TIMEOUT_SECONDS,
                socket_connect_timeout=_TIMEOUT_SECONDS,
            )
        ) as redis:
            return _look(redis, settings.queue_name)
    except (RedisError, ValueError) as error:
        raise QueueUnavailableError(f"Redis does not answer: {error}") from error


def _look(redis: Redis, queue_name: str) -> QueueFacts:
    key = f"rq:queue:{queue_name}"
    spoken, queued = last_heartbeat(redis, queue_name), oldest_queued(redis, queue_name)
    waiting: Any = redis.llen(key)
    return QueueFacts(
        waiting=waiting,
        orphans=_orphans(redis, key),
        silence_seconds=_seconds_since(spoken),
        clock_ahead_seconds=_clock_ahead(redis),
        workers=registered_workers(redis, queue_name),
        oldest_seconds=_seconds_since(queued),
    )


def _seconds_since(moment: float | None) -> float | None:
    return None if moment is None else max(0.0, time.time() - moment)


def _orphans(redis: Redis, key: str) -> tuple[str, ...]:
    lists = (key, f"{key}:intermediate")
    listed: Any = [redis.lrange(each, 0, _LOOKED_AT - 1) for each in lists]
    ids = [raw.decode(errors="replace") for raws in listed for raw in raws]
    with redis.pipeline(transaction=False) as pipeline:
        for id_ in ids:
            pipeline.exists(AllowedJob.key_for(id_))
        there = pipeline.execute()
    return tuple(id_ for id_, found in zip(ids, there, strict=True) if not found)


def _clock_ahead(redis: Redis) -> float:
    before = time.time()
    seconds, microseconds = redis.time()
    return float(seconds + microseconds / 1e6 - (before + time.time()) / 2)
