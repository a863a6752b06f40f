"""How Redis is reached, how long it is waited for, and what its errors are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import Redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from models.errors import QueueUnavailableError

CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 10.0


def connect(redis_url: str) -> Redis:
    """A client for work; connects when it is first used."""
    # One quick retry: a pooled connection may be from before Redis' restart.
    return Redis.from_url(
        redis_url,
        socket_timeout=_ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(ConstantBackoff(0.1), 1),
    )


def probing(redis_url: str, timeout_seconds: float) -> Redis:
    """A client that waits no longer than it is told to and tries once."""
    return Redis.from_url(
        redis_url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )


@contextmanager
def translated() -> Iterator[None]:
    """Tell of a Redis that does not work.

    Raises:
        QueueUnavailableError: the block met an error of Redis.
    """
    try:
        yield
    except RedisError as error:
        message = f"the queue's Redis does not work ({error}): start it, then try again"
        raise QueueUnavailableError(message) from error
