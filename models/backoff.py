"""Exponential backoff: the pauses between attempts."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Pauses that double with each attempt, up to a longest one, in seconds."""

    first_seconds: float
    longest_seconds: float

    def pause(self, attempt: int) -> float:
        """The pause after *attempt* (from 0) failed."""
        # Past 64 doublings a float might overflow; every pause is the longest by then.
        return min(self.first_seconds * 2.0 ** min(attempt, 64), self.longest_seconds)

    def jittered(self, attempt: int) -> float:
        """The pause after *attempt* failed, shortened at random by up to a half.

        Callers that failed at the same time then do not all retry at the same time.
        """
        return self.pause(attempt) * random.uniform(0.5, 1)
