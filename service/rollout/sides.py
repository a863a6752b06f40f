"""Which version a request is for: decided by a hash, so that all processes agree.

Who sends the same `X-Rollout-Key` stays on the same side; without it the request's id
decides. A share that grows keeps those on the canary who are there already.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from flask import request

from models.rollouts import Rollout
from service.headers import request_id

KEY_HEADER: Final = "X-Rollout-Key"

_RANGE: Final = 2**32


class Draw(NamedTuple):
    """Where a request falls, twice: two independent percentages, 0 to below 100."""

    side: float
    mirror: float


def draw(rollout: Rollout, key: str) -> Draw:
    """Where requests with *key* fall in *rollout*; others fall elsewhere in another."""
    digest = hashlib.blake2b(f"{rollout.id}:{key}".encode(), digest_size=8).digest()
    return Draw(_percentage(digest[:4]), _percentage(digest[4:]))


def current_key() -> str:
    """What the request in work is told apart by."""
    return request.headers.get(KEY_HEADER) or request_id()


def _percentage(digits: bytes) -> float:
    return 100 * int.from_bytes(digits) / _RANGE
