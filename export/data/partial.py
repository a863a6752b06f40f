"""An array that is being computed, beside its final name, and how much of it is safe."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.files import TEMPORARY_PREFIX, sync_path, write_atomically

_HEADROOM_BYTES: Final = 64 * 1024 * 1024
_MARK_EVERY_BYTES: Final = 256 * 1024 * 1024


class PartialArray:
    """An unfinished array beside its final name, and how many of its rows are safe."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        """Find what an interrupted run left, or take the disk space for all of it.

        Raises:
            DatasetError: the disk is too small.
        """
        self._path = path
        self._array = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
        self._mark = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.rows")
        self._row_bytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        self._unmarked_bytes = 0
        if not self.done():
            self._allocate(shape, dtype)

    def done(self) -> int:
        """Rows that are on the disk for certain."""
        if not self._mark.exists():
            return 0
        return int(self._mark.read_text(encoding="ascii") or 0)

    def write(self, first: int, rows: NDArray[Any]) -> None:
        """Put *rows* at row *first*; now and then mark what is safe."""
        target = np.load(self._array, mmap_mode="r+")
        target[first : first + len(rows)] = rows
        self._unmarked_bytes += len(rows) * self._row_bytes
        if self._unmarked_bytes >= _MARK_EVERY_BYTES:
            target.flush()
            write_atomically(self._mark, str(first + len(rows)))
            self._unmarked_bytes = 0

    def finish(self) -> None:
        """Give the array its name: it is complete."""
        sync_path(self._array)
        # First the mark: it must never speak of an array that is not there.
        self._mark.unlink(missing_ok=True)
        self._array.replace(self._path)

    def discard(self) -> None:
        """Remove it: what it was computed from cannot be used."""
        self._mark.unlink(missing_ok=True)
        self._array.unlink(missing_ok=True)

    def _allocate(self, shape: tuple[int, ...], dtype: str) -> None:
        # A full disk under a memory map is a SIGBUS, so the blocks are taken first.
        needed = shape[0] * self._row_bytes
        free = shutil.disk_usage(self._path.parent).free
        if needed + _HEADROOM_BYTES > free:
            message = (
                f"the cache {self._path.parent} needs {needed / 1e6:,.0f} MB and has "
                f"{free / 1e6:,.0f} MB: free some, or set CACHE_DIR to a larger disk"
            )
            raise DatasetError(message)
        np.lib.format.open_memmap(self._array, mode="w+", dtype=dtype, shape=shape)
        descriptor = os.open(self._array, os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 0, self._array.stat().st_size)
        finally:
            os.close(descriptor)
