"""Counters that all API processes share, in Redis hashes that expire by themselves.

They count what happened online, nothing of the folder jobs; the queue's front hands
them out because Redis is spoken to nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final, cast

from redis import Redis
from redis.exceptions import RedisError

from models.errors import QueueUnavailableError
from worker.connections import probing

KEPT_SECONDS: Final = 7 * 24 * 3600
"""A hash is gone this long after it was last added to."""

_ANSWER_SECONDS: Final = 0.5


class SharedCounts:
    """Whole numbers by key and field; connects when it must, thread-safe."""

    def __init__(self, redis_url: str) -> None:
        """Count in the Redis at *redis_url*."""
        self._redis_url = redis_url

    def add(self, key: str, counts: Mapping[str, int]) -> None:
        """Add *counts* to the fields of *key*, all of them or none.

        Raises:
            QueueUnavailableError: Redis is away. If only its answer was lost, they were
                added all the same.
        """
        try:
            with self._connection.pipeline() as pipeline:
                for field, count in counts.items():
                    pipeline.hincrby(key, field, count)
                pipeline.expire(key, KEPT_SECONDS)
                pipeline.execute()
        except RedisError as error:
            raise _unavailable(error) from error

    def read(self, key: str) -> dict[str, int]:
        """The fields of *key*; none if nothing was added for long.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        try:
            fields = cast("dict[bytes, bytes]", self._connection.hgetall(key))
        except RedisError as error:
            raise _unavailable(error) from error
        return {field.decode(): int(count) for field, count in fields.items()}

    @cached_property
    def _connection(self) -> Redis:
        return probing(self._redis_url, _ANSWER_SECONDS)


def _unavailable(error: RedisError) -> QueueUnavailableError:
    return QueueUnavailableError(f"counts are kept in Redis, which is away ({error})")
