"""Arrays on disk that are larger than memory: complete or absent, resumed after a crash.

Rows are read and written through memory maps that live for one call, so the resident
memory does not grow with the array. Two runs may want the same array: the second waits
for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.data.partial import PartialArray
from models.errors import DatasetError
from models.files import TEMPORARY_PREFIX, locked_file


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
            _complete(PartialArray(path, shape, dtype), compute)
    return open_array(path)


def _complete(partial: PartialArray, compute: Callable[[int], Rows]) -> None:
    try:
        for first, rows in compute(partial.done()):
            partial.write(first, rows)
    except DatasetError:
        partial.discard()
        raise
    partial.finish()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.lock")
    with locked_file(lock):
        yield
        lock.unlink(missing_ok=True)
