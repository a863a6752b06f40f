"""How full the disk of the runs is, for monitoring."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DiskFigures:
    """The disk of the runs, in bytes.

    Attributes:
        free: what may still be written.
        size: what it holds when it is full.
        needed: with less free, no job is taken in.
    """

    free: int
    size: int
    needed: int


def read_disk(runs_dir: Path, min_free_bytes: int) -> DiskFigures:
    """The disk of *runs_dir*, which need not exist yet.

    Raises:
        OSError: the disk cannot be asked.
    """
    there = next(each for each in (runs_dir, *runs_dir.parents) if each.exists())
    usage = shutil.disk_usage(there)
    return DiskFigures(usage.free, usage.total, min_free_bytes)
