"""How many images make one unit of work."""

from __future__ import annotations

from typing import Final

SHARD_SIZE: Final = 128
"""Images in one unit of work: four full batches, so a lost one costs seconds."""

SMALL_JOB: Final = 16 * SHARD_SIZE
"""Jobs below this many images get shards of half the size, so that progress shows."""


def choose_shard_size(images: int) -> int:
    """Images in each shard of a job of so many *images*; full batches either way."""
    return SHARD_SIZE if images >= SMALL_JOB else SHARD_SIZE // 2
