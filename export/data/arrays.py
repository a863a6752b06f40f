"""Arrays on disk that are larger than memory: complete or absent, resumed after a crash.

Rows are read and written through memory maps that live for one call, so the resident
memory does not grow with the array. Two runs may want the same array: the second waits
for the first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.storage import TEMPORARY_PREFIX, sync_path, write_atomically

_HEADROOM_BYTES: Final = 64 * 1024 * 1024
_MARK_EVERY_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True)
class StoredArray:
    """An array [N, ...] in a ``.npy`` file; it is opened anew for every read."""

    path: Path
    shape: tuple[int, ...]
    dtype: str

    def __len__(self) -> int:
        """Rows, N."""
        return self.shape[0]

    def rows(self, chosen: NDArray[np.integer] | slice) -> NDArray[Any]:
        """A copy of the *chosen* rows."""
        return np.array(np.load(self.path, mmap_mode="r")[chosen])

    def batches(self, size: int, start: int = 0) -> Iterator[tuple[int, NDArray[Any]]]:
        """(first row, rows) of each batch of *size* from row *start* on, in order."""
        for first in range(start, len(self), size):
            yield first, self.rows(slice(first, first + size))


def open_array(path: Path) -> StoredArray:
    """The finished array at *path*.

    Raises:
        DatasetError: the file is damaged.
    """
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        message = f"the cached array {path} is damaged ({error}): delete it"
        raise DatasetError(message) from error
    return StoredArray(path, found.shape, str(found.dtype))


Rows = Iterator[tuple[int, NDArray[Any]]]
"""(first row, rows) in ascending order."""


def stored_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: str,
    compute: Callable[[int], Rows],
) -> StoredArray:
    """The array at *path*; what is missing of it is computed and written first.

    *compute* yields rows from the row on that it is given: 0, or where a run that was
    killed had got to.

    Raises:
        DatasetError: the disk is too small for it.
    """
    if path.exists():
        return open_array(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if not path.exists():
            _complete(_PartialArray(path, shape, dtype), compute)
    return open_array(path)


def _complete(partial: _PartialArray, compute: Callable[[int], Rows]) -> None:
    try:
        for first, rows in compute(partial.done()):
            partial.write(first, rows)
    except DatasetError:
        partial.discard()
        raise
    partial.finish()


class _PartialArray:
    """An unfinished array beside its final name, and how many of its rows are safe."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
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
        target = np.load(self._array, mmap_mode="r+")
        target[first : first + len(rows)] = rows
        self._unmarked_bytes += len(rows) * self._row_bytes
        if self._unmarked_bytes >= _MARK_EVERY_BYTES:
            target.flush()
            write_atomically(self._mark, str(first + len(rows)))
            self._unmarked_bytes = 0

    def finish(self) -> None:
        sync_path(self._array)
        self._array.replace(self._path)
        self._mark.unlink(missing_ok=True)

    def discard(self) -> None:
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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.lock")
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)
