"""The workers that Redis knows, and what each said of itself when it began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from models import VERSION
from worker.heartbeats import read_moment

_VERSION: Final = "kennel_version"
_REDIS_CLOCK: Final = "kennel_redis_clock"
_FIELDS: Final = ("hostname", "birth", _VERSION, _REDIS_CLOCK)


@dataclass(frozen=True)
class RegisteredWorker:
    """One worker.

    Attributes:
        host: the machine or container.
        version: of the program; "" if it did not say.
        clock_ahead_seconds: its clock against Redis's when it began; None: unknown.
    """

    host: str
    version: str
    clock_ahead_seconds: float | None


def introduction(connection: Redis) -> dict[str, str]:
    """What a worker adds to RQ's own entry of it.

    Raises:
        RedisError: Redis is away.
    """
    seconds, microseconds = connection.time()
    return {_VERSION: VERSION, _REDIS_CLOCK: f"{seconds + microseconds / 1e6:.6f}"}


def registered_workers(
    connection: Redis, queue_name: str
) -> tuple[RegisteredWorker, ...]:
    """The workers of the queue, those that died a moment ago included.

    Raises:
        RedisError: Redis is away.
    """
    keys: Any = connection.smembers(WORKERS_BY_QUEUE_KEY % queue_name)
    with connection.pipeline(transaction=False) as pipeline:
        for key in sorted(keys):
            pipeline.hmget(key, _FIELDS)
        answers = pipeline.execute()
    found = (dict(zip(_FIELDS, each, strict=True)) for each in answers)
    return tuple(_worker(each) for each in found if each["birth"] is not None)


def _worker(fields: Mapping[str, bytes | None]) -> RegisteredWorker:
    return RegisteredWorker(
        host=_text(fields["hostname"]),
        version=_text(fields[_VERSION]),
        clock_ahead_seconds=_ahead(fields),
    )


def _ahead(fields: Mapping[str, bytes | None]) -> float | None:
    born = read_moment(fields["birth"])
    try:
        return born.timestamp() - float(_text(fields[_REDIS_CLOCK])) if born else None
    except ValueError:
        return None


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
