"""Refuses a Redis that drops keys to make room: it cannot hold the work list."""

from __future__ import annotations

from typing import Any, Final

from redis import Redis
from redis.exceptions import NoPermissionError

from models.errors import QueueUnavailableError

NEVER_EVICTS: Final = "noeviction"
REMEDY: Final = (
    f"redis-cli CONFIG SET maxmemory-policy {NEVER_EVICTS}, and the same in redis.conf"
)


def check_keeps_work(connection: Redis) -> None:
    """See that Redis refuses new work when it is full, and never drops old.

    RQ skips ids whose job was dropped, without a word. A user that may not ask is
    trusted.

    Raises:
        QueueUnavailableError: it would drop work; the message says how to mend it.
        RedisError: Redis is away.
    """
    try:
        memory: Any = connection.info("memory")
    except NoPermissionError:
        return
    policy = memory.get("maxmemory_policy", NEVER_EVICTS)
    if policy != NEVER_EVICTS:
        message = (
            f"the queue's Redis may drop queued work (maxmemory-policy {policy}): "
            f"{REMEDY}"
        )
        raise QueueUnavailableError(message)
