"""One request's share of its sender's rate, counted in images.

Every request is charged 1 when it comes in; one with more images pays for the rest as
soon as their number is known. `RateLimit` and `RateLimit-Policy` are those of
draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Final

from flask import Response, g
from limits import RateLimitItem

from models.errors import InvalidRequestError
from service.protection.errors import RateLimitedError
from service.protection.limiter import Limiter
from service.protection.rates import render_rate

_POLICY: Final = "default"


@dataclass(frozen=True)
class Quota:
    """What the sender of one request may use.

    Attributes:
        sender: whose counters are used, for example ``key/phone-app``.
    """

    limiter: Limiter
    rate: RateLimitItem
    sender: str

    def charge(self, cost: int) -> None:
        """Use *cost* of it.

        Raises:
            InvalidRequestError: it is more than the rate ever allows at once.
            RateLimitedError: it is more than what is left now.
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
        """The policy and what it leaves, as answers state them."""
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


def charge_images(count: int) -> None:
    """Charge the request in work for *count* images, of which it has paid for one.

    Raises:
        InvalidRequestError, RateLimitedError: as `Quota.charge`.
    """
    quota: Quota | None = g.get("quota")
    if quota is not None and count > 1:
        quota.charge(count - 1)


def add_quota_headers(response: Response) -> Response:
    """Tell the sender of the request in work what its quota is."""
    quota: Quota | None = g.get("quota")
    if quota is not None:
        response.headers.update(quota.headers())
    return response


def _seconds_until(moment: float) -> int:
    return max(0, math.ceil(moment - time.time()))
