"""What can be seen of the work list's Redis without changing anything in it.

Facts only: `kennel doctor` judges them. Commands that would change something, or that
our user must not run, are queued in a transaction and discarded: Redis says at once
whether it would have run them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from models.errors import QueueUnavailableError

_FOREIGN_KEY: Final = "other:program"
_TRIALS: Final = {
    # The argument is none of its own: even if it ran, it would do nothing.
    "FLUSHALL": ("FLUSHALL", "NOTHING"),
    "CONFIG": ("CONFIG", "GET", "port"),
    "KEYS": ("KEYS", _FOREIGN_KEY),
    "other programs' keys": ("GET", _FOREIGN_KEY),
}


@dataclass(frozen=True)
class RedisFacts:
    """One look at a Redis.

    Attributes:
        info: INFO's server, memory, persistence and replication; empty: we may not ask.
        append_fsync: ``appendfsync``; None: we may not ask.
        refusal: why it would take no write now; "": it would.
        powers: those of FLUSHALL, CONFIG and so on that our user may use.
        is_open: whether it answers without name and password.
    """

    info: dict[str, Any]
    append_fsync: str | None
    refusal: str
    powers: tuple[str, ...]
    is_open: bool


def look_at_redis(redis_url: str, timeout_seconds: float = 2.0) -> RedisFacts:
    """What the Redis at *redis_url* says of itself.

    Raises:
        QueueUnavailableError: it does not answer, or does not let us in.
    """
    try:
        with _connected(redis_url, timeout_seconds) as redis:
            facts = _look(redis)
    except AuthenticationError as error:
        message = "it does not let us in: REDIS_URL needs its name and password"
        raise QueueUnavailableError(message) from error
    except (RedisError, ValueError) as error:
        raise QueueUnavailableError(f"it does not answer: {error}") from error
    return replace(facts, is_open=_answers_anyone(redis_url, timeout_seconds))


@contextmanager
def _connected(redis_url: str, timeout_seconds: float) -> Iterator[Redis]:
    redis = Redis.from_url(
        redis_url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        # Transactions that are begun and discarded need one connection.
        single_connection_client=True,
    )
    with closing(redis):
        yield redis


def _look(redis: Redis) -> RedisFacts:
    refusals = {what: _refusal(redis, *trial) for what, trial in _TRIALS.items()}
    return RedisFacts(
        info=_info(redis),
        append_fsync=_append_fsync(redis),
        refusal=_refusal(redis, "SET", "rq:kennel:ping", "1"),
        powers=tuple(what for what, refusal in refusals.items() if not refusal),
        is_open=False,
    )


def _info(redis: Redis) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in ("server", "memory", "persistence", "replication"):
        with suppress(NoPermissionError):
            answer: Any = redis.info(section)
            found.update(answer)
    return found


def _append_fsync(redis: Redis) -> str | None:
    try:
        settings: Any = redis.config_get("appendfsync")
    except ResponseError:
        return None
    return str(settings.get("appendfsync"))


def _refusal(redis: Any, *command: str) -> str:
    redis.execute_command("MULTI")
    try:
        redis.execute_command(*command)
    except ResponseError as error:
        return str(error)
    finally:
        with suppress(ResponseError):
            redis.execute_command("DISCARD")
    return ""


def _answers_anyone(redis_url: str, timeout_seconds: float) -> bool:
    url = urlsplit(redis_url)
    query = [
        (name, value)
        for name, value in parse_qsl(url.query)
        if name not in {"username", "password"}
    ]
    netloc = url.netloc.rpartition("@")[2]
    anonymous = urlunsplit(url._replace(netloc=netloc, query=urlencode(query)))
    try:
        with _connected(anonymous, timeout_seconds) as redis:
            return bool(redis.ping())
    except (RedisError, ValueError):
        return False
