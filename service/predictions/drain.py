"""How fast this process answers images, learnt from those it has answered.

The rate is that of the time in which images were in work: an idle process is not a slow
one. The past fades, so a model server that hangs is noticed within seconds, and one
that is back is trusted again as it answers.
"""

from __future__ import annotations

import math
from typing import Final

from models.contract import MAX_BATCH_SIZE

MEMORY_SECONDS: Final = 5.0
"""Time in work after which what was learnt counts for 1/e: a few batches of VGG16."""


class DrainRate:
    """Images in work, and how fast they are answered; not thread-safe.

    Attributes:
        in_work: images that entered and have not left.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.in_work = 0
        self._now = 0.0
        # Exponentially fading sums, over time in work only.
        self._seconds = 0.0
        self._image_seconds = 0.0
        self._answered = 0.0

    def enter(self, count: int, now: float) -> None:
        """Take *count* images into work; *now* in seconds, never going back."""
        self._advance(now)
        self.in_work += count

    def leave(self, count: int, now: float, *, answered: bool) -> None:
        """Let *count* images out of work, *answered* (be it "bad image") or given up."""
        self._advance(now)
        self.in_work -= count
        if answered:
            self._answered += count

    def seconds_for(self, images: int, now: float) -> float:
        """How long *images* in work at a time are likely to take; 0 if unknown."""
        self._advance(now)
        if self._answered == 0 or self._seconds == 0:
            return 0.0
        if images <= MAX_BATCH_SIZE:
            # A model server answers a batch as one: until so many were in work at a
            # time, what one of them took says little about all of them.
            images_seen = self._image_seconds / self._seconds
            return min(images, 2 * images_seen) * self._seconds / self._answered
        return images * self._seconds / self._answered

    def _advance(self, now: float) -> None:
        elapsed, self._now = now - self._now, now
        if self.in_work == 0 or elapsed <= 0:
            return
        kept = math.exp(-elapsed / MEMORY_SECONDS)
        added = MEMORY_SECONDS * (1 - kept)
        self._seconds = kept * self._seconds + added
        self._image_seconds = kept * self._image_seconds + added * self.in_work
        self._answered *= kept
