"""When a call is tried again, and after which pause.

One that never reached the API may always be repeated. One that may have been done is
repeated only if doing it twice is the same as once; one that was slow is not, because the
next would be as slow.
"""

from __future__ import annotations

import random
from typing import Final

from kennel.api.call import Call
from kennel.api.errors import (
    TOO_SLOW,
    ApiBusyError,
    ApiError,
    ApiTimeoutError,
    ApiUnreachableError,
)

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0


def may_repeat(error: ApiError, call: Call) -> bool:
    """Whether *call*, which met *error*, is tried again."""
    if isinstance(error, ApiTimeoutError):
        return False
    if isinstance(error, ApiUnreachableError):
        return call.repeatable or not error.sent
    if error.status == TOO_SLOW and call.divisible:
        return False
    return isinstance(error, ApiBusyError) and call.repeatable


def pause_seconds(error: ApiError, attempt: int) -> float:
    """How long to wait after *attempt* (from 0) failed: longer each time.

    Never less than the API asked for; up to a half of it by chance, so that clients
    that were refused together do not come back together.
    """
    longest = min(FIRST_PAUSE_SECONDS * 2.0**attempt, LONGEST_PAUSE_SECONDS)
    asked = error.retry_after_seconds if isinstance(error, ApiBusyError) else 0.0
    return asked + longest * random.uniform(0.5, 1)
