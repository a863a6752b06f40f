"""Which batch a latency budget leaves room for, from the times of batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.contract import MAX_BATCH_SIZE

ENOUGH: Final = 0.95
"""Of the best images/s: a larger batch for less than that only makes others wait."""


@dataclass(frozen=True)
class BatchTimes:
    """What a model needs on a machine.

    Attributes:
        name: the model, and its version if there is one.
        seconds: of a batch, by its size.
    """

    name: str
    seconds: Mapping[int, float]

    def rate(self, size: int) -> float:
        """Images a second in batches of *size*."""
        return size / self.seconds[size]

    def latency_ms(self, size: int) -> float:
        """Milliseconds of a request that meets a busy server with batches of *size*.

        It waits for the batch that is under way, then for its own: at worst twice the
        time of a batch, as long as the server keeps up.
        """
        return 2000 * self.seconds[size]

    def choose(self, budget_ms: float) -> int:
        """The smallest batch that is fast enough among those within the budget.

        Below `MAX_BATCH_SIZE` only if that is too slow, because then calls are split;
        `MAX_BATCH_SIZE` too if the budget has no room for any batch.
        """
        within = [
            size
            for size in sorted(self.seconds)
            if size > 1 and self.latency_ms(size) <= budget_ms
        ]
        whole = [size for size in within if size >= MAX_BATCH_SIZE] or within
        best = max(map(self.rate, whole), default=0.0)
        fast = (size for size in whole if self.rate(size) >= ENOUGH * best)
        return next(fast, MAX_BATCH_SIZE)

    def warnings(self, size: int, budget_ms: float) -> list[str]:
        """What to tell whoever wants batches of *size* within *budget_ms*."""
        latency = self.latency_ms(size)
        if latency <= budget_ms:
            return []
        return [
            f"{self.name}: a batch of {size} takes {latency / 2:.0f} ms, so a request to "
            f"a busy server up to {latency:.0f} ms, which is above the budget of "
            f"{budget_ms:g} ms. More cores, a GPU, `kennel export --precision bfloat16` "
            "or a smaller network would help"
        ]
