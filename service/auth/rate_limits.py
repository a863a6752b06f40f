"""Rate limits of each sender, counted in images and shared by all processes.

Every request is charged 1 when it arrives; its other images are charged as soon as their
number is known. The counters are in Redis; while it is away each process counts for itself:
predictions do not depend on Redis. `RateLimit` and `RateLimit-Policy`
are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

from flask import Response, g, request
from limits import RateLimitItem, WindowStats
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from models.errors import InvalidRequestError
from service.auth.keys import render_rate
from service.http.errors import RateLimitedError

REDIS_SECONDS: Final = 0.05
"""The longest wait for Redis: one request in each pause may lose that much time."""

PAUSE_SECONDS: Final = 5.0
_KEY_PREFIX: Final = "kennel:limits"

_POLICY: Final = "default"

_Answer = TypeVar("_Answer")
_Counters = SlidingWindowCounterRateLimiter

logger = logging.getLogger(__name__)


class Limiter:
    """The counters and marks of one service; connects at the first use; thread-safe."""

    def __init__(self, redis_url: str, wait_seconds: float | None = None) -> None:
        """Count in the Redis at *redis_url*.

        Waits for each answer of Redis up to *wait_seconds*, by default REDIS_SECONDS.

        Raises:
            InvalidRequestError: *redis_url* is no Redis URL; the message does not quote it.
        """
        try:
            self._shared = _Counters(
                _redis_storage(redis_url, wait_seconds or REDIS_SECONDS)
            )
        except ValueError as error:
            message = (
                "REDIS_URL is no Redis URL: use for example redis://127.0.0.1:6379/0"
            )
            raise InvalidRequestError(message) from error
        self._lock = threading.Lock()
        self._away_until: float | None = None

    def charge(self, rate: RateLimitItem, sender: str, cost: int = 1) -> bool:
        """Charge *sender* with *cost*; False: *rate* leaves less than that."""
        return self._call(lambda counters: counters.hit(rate, sender, cost=cost))

    def left(self, rate: RateLimitItem, sender: str) -> WindowStats:
        """What *sender* has left of *rate*, and when (Unix time) that grows."""
        return self._call(lambda counters: counters.get_window_stats(rate, sender))

    def mark(self, name: str, seconds: int) -> bool:
        """Set the mark *name* for *seconds*; False: Redis is away."""
        try:
            self._call_redis(lambda counters: counters.storage.incr(name, seconds))
        except _AwayError:
            return False
        return True

    def is_marked(self, name: str) -> bool:
        """Whether the mark *name* is set; False while Redis is away."""
        try:
            return self._call_redis(lambda counters: counters.storage.get(name)) > 0
        except _AwayError:
            return False

    @cached_property
    def _own(self) -> _Counters:
        return _Counters(MemoryStorage())

    def _call(self, call: Callable[[_Counters], _Answer]) -> _Answer:
        try:
            return self._call_redis(call)
        except _AwayError:
            return call(self._own)

    def _call_redis(self, call: Callable[[_Counters], _Answer]) -> _Answer:
        if not self._may_try_redis():
            raise _AwayError
        try:
            answer = call(self._shared)
        except StorageError as error:
            self._pause(error)
            raise _AwayError from error
        if self._away_until is not None:
            self._away_until = None
            logger.info("rate limits and sessions use Redis again")
        return answer

    def _may_try_redis(self) -> bool:
        if self._away_until is None:
            return True
        with self._lock:
            now = time.monotonic()
            if self._away_until is not None and now < self._away_until:
                return False
            # Only this request tries; the others need not wait for its outcome.
            self._away_until = now + PAUSE_SECONDS
            return True

    def _pause(self, error: StorageError) -> None:
        if self._away_until is None:
            reason = error.storage_error
            logger.warning(
                "rate limits and sessions are kept by process: no Redis (%s)", reason
            )
        self._away_until = time.monotonic() + PAUSE_SECONDS


class _AwayError(Exception):
    """Redis did not answer, or the pause after such a failure is not over."""


def _redis_storage(url: str, wait_seconds: float) -> RedisStorage:
    return RedisStorage(
        # limits has its own name for the scheme of sockets in the file system.
        url.replace("unix://", "redis+unix://", 1) if url.startswith("unix") else url,
        key_prefix=_KEY_PREFIX,
        wrap_exceptions=True,
        socket_timeout=wait_seconds,
        socket_connect_timeout=wait_seconds,
    )


@dataclass(frozen=True)
class Quota:
    """The quota of the sender of one request.

    Attributes:
        sender: whose counters are used, for example ``key/phone-app``.
    """

    limiter: Limiter
    rate: RateLimitItem
    sender: str

    def charge(self, cost: int) -> None:
        """Use *cost* of the quota.

        Raises:
            InvalidRequestError: the rate never allows so much at once.
            RateLimitedError: less is left now.
        """
        if cost > self.rate.amount:
            message = f"the rate is {render_rate(self.rate)}: send fewer images at once"
            raise InvalidRequestError(message, code="too_many_images")
        if not self.limiter.charge(self.rate, self.sender, cost):
            wait = self._wait(cost)
            message = (
                f"the rate is {render_rate(self.rate)} and is used up: try again in "
                f"{wait} s"
            )
            raise RateLimitedError(message, wait)

    def headers(self) -> dict[str, str]:
        """The headers that state the policy and what is left of it."""
        stats = self.limiter.left(self.rate, self.sender)
        policy = f"q={self.rate.amount};w={self.rate.get_expiry()}"
        left = f"r={max(0, stats.remaining)};t={_seconds_until(stats.reset_time)}"
        return {
            "RateLimit-Policy": f'"{_POLICY}";{policy}',
            "RateLimit": f'"{_POLICY}";{left}',
        }

    def _wait(self, cost: int) -> int:
        stats = self.limiter.left(self.rate, self.sender)
        missing = cost - max(0, stats.remaining)
        refill = missing * self.rate.get_expiry() / self.rate.amount
        return max(1, math.ceil(refill), _seconds_until(stats.reset_time))


def client_network() -> str:
    """The client's address; for IPv6 its /64 network, which one customer gets."""
    text = request.remote_addr or ""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def charge_images(count: int) -> None:
    """Charge the request in work for *count* images, of which one is charged already.

    Raises:
        InvalidRequestError, RateLimitedError: as `Quota.charge`.
    """
    quota: Quota | None = g.get("quota")
    if quota is not None and count > 1:
        quota.charge(count - 1)


def add_quota_headers(response: Response) -> Response:
    """Add the headers that state the quota of the request's sender."""
    quota: Quota | None = g.get("quota")
    if quota is not None:
        response.headers.update(quota.headers())
    return response


def _seconds_until(moment: float) -> int:
    return max(0, math.ceil(moment - time.time()))
