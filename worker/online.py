"""Online traffic, as workers hear of it, and the turn that they take while there is any.

Both are keys in Redis that expire by themselves: nothing is left behind by a process
that dies. When Redis is away there is no traffic, as far as a worker knows.
"""

from __future__ import annotations

import math
import time
from functools import cached_property
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from models.errors import QueueUnavailableError
from worker.connections import probing

REMEMBERED_SECONDS: Final = 60.0
"""So long after the last word of it, workers know of online traffic."""

_TRAFFIC: Final = "rq:kennel:online"
_TURN: Final = "rq:kennel:turn"
_LOOK_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 0.5


class OnlineTraffic:
    """Whether people wait for answers; connects when it must, thread-safe."""

    def __init__(self, redis_url: str) -> None:
        """Speak of it through the Redis at *redis_url*."""
        self._redis_url = redis_url
        self._looked = -math.inf
        self._quiet_seconds = math.inf

    def note(self) -> None:
        """Tell the workers that there is traffic now.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        try:
            self._connection.set(_TRAFFIC, "1", px=_milliseconds(REMEMBERED_SECONDS))
        except RedisError as error:
            message = f"workers cannot be told of online traffic ({error})"
            raise QueueUnavailableError(message) from error

    def quiet_seconds(self) -> float:
        """Since the last word of traffic; infinite if that is forgotten.

        Redis is asked twice a second at most.
        """
        moment = time.monotonic()
        if moment - self._looked >= _LOOK_SECONDS:
            self._quiet_seconds = self._look()
            # After the answer: a Redis that does not answer must not be asked at once.
            self._looked = time.monotonic()
        return self._quiet_seconds

    def take_turn(self, seconds: float) -> bool:
        """Whether the caller may ask the model now, for *seconds* at most.

        One of all workers may, then nobody until its `rest` is over.
        """
        try:
            taken = self._connection.set(_TURN, "1", nx=True, px=_milliseconds(seconds))
        except RedisError:
            return True
        return bool(taken)

    def rest(self, seconds: float) -> None:
        """Let nobody have a turn for *seconds*."""
        try:
            self._connection.set(_TURN, "1", px=_milliseconds(seconds))
        except RedisError:
            return

    def _look(self) -> float:
        try:
            left: int = self._connection.pttl(_TRAFFIC)
        except RedisError:
            return math.inf
        # Negative: there is no such key.
        return REMEMBERED_SECONDS - left / 1000 if left >= 0 else math.inf

    @cached_property
    def _connection(self) -> Redis:
        return probing(self._redis_url, _ANSWER_SECONDS)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
