"""Room on the disk: looked at before the first file is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from export.data.preparation.placing import Step
from models.errors import DatasetError

_BLOCK: Final = 4096
"""Bytes; a file takes whole blocks."""


def check_space(dest: Path, steps: Sequence[Step]) -> None:
    """See that the disk of *dest*, which need not exist yet, has room for *steps*.

    Raises:
        DatasetError: it has not; it names the folder and the bytes.
    """
    disk = next(each for each in (dest, *dest.parents) if each.exists())
    needed = sum(_bytes_needed(step, disk.stat().st_dev) for step in steps)
    if needed > shutil.disk_usage(disk).free:
        raise full_disk(dest, needed)


def full_disk(dest: Path, needed: int) -> DatasetError:
    """The error for a disk without room for *needed* more bytes."""
    return DatasetError(
        f"no room in {dest}: {needed:,} bytes more are needed. Free them, or use --link "
        "on the source's disk; then run the same command again"
    )


def _bytes_needed(step: Step, device: int) -> int:
    in_place = not step.origin.members and step.transfer != "copy"
    if in_place:
        try:
            if step.origin.location.stat().st_dev == device:
                return 0
        except FileNotFoundError:  # it will be in the destination by then
            return 0
    return -(-step.size // _BLOCK) * _BLOCK
