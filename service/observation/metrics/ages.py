"""Moments as ages, which alerts compare with a bound."""

from __future__ import annotations

import time
from collections.abc import Iterable


def age_seconds(moments: Iterable[float]) -> list[float]:
    """Seconds since each of *moments*, times since the epoch; [0] if there are none.

    A moment in the future, of a clock that goes ahead, is now.
    """
    now = time.time()
    return [max(now - moment, 0.0) for moment in moments] or [0.0]
