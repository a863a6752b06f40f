"""Cache of pixels and features on disk, keyed by everything that determines them.

An array is complete or absent, may be larger than memory, and is resumed after a crash:
rows go through memory maps that live for one call. Two runs may want the same array: the
second waits for the first.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.data.sources.reading import read_photo
from export.progress import Progress
from models.contract import MAX_BATCH_SIZE
from models.errors import DatasetError, InvalidImageError
from models.files import TEMPORARY_PREFIX, locked_file, sync_path, write_atomically
from models.images.codec import PREPROCESSING, Pixels, decode_image

DECODING_THREADS = 4
_CHUNK = 4 * MAX_BATCH_SIZE


@dataclass(frozen=True)
class PixelSource:
    """Photos of one part, as one size of pixels; ``name`` is for progress bars."""

    name: str
    files: Sequence[Path]
    hashes: Sequence[str]
    image_size: tuple[int, int]

    def key(self) -> str:
        """Changes with any file's content, the order, the size or the decoding."""
        return digest([list(self.hashes), self.image_size, PREPROCESSING])


@dataclass(frozen=True)
class FeatureSource:
    """What features are a function of, besides the pixels.

    ``shapes`` are those of one photo's features, one for each output of the frozen part
    of the network; they are stored in ``dtype``. ``compute`` maps (first row, pixels
    uint8 [N, H, W, 3]) to one array [N, ...] for each output.
    """

    name: str
    key: Sequence[object]
    shapes: Sequence[tuple[int, ...]]
    dtype: str
    compute: Callable[[int, Pixels], Sequence[NDArray[Any]]]


@dataclass(frozen=True)
class StoredFeatures:
    """Features of N photos on disk; all outputs of one photo lie in one row."""

    array: StoredArray
    shapes: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Photos, N."""
        return len(self.array)

    def rows(self, chosen: NDArray[np.integer]) -> list[NDArray[np.float32]]:
        """The *chosen* photos' features, float32, one array for each output."""
        flat = self.array.rows(chosen).astype(np.float32)
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        parts = np.split(flat, ends[:-1], axis=1)
        return [
            part.reshape(len(flat), *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]


def cached_pixels(source: PixelSource, cache: Path, progress: Progress) -> StoredArray:
    """All photos of *source*, decoded once, uint8 [N, H, W, 3].

    Raises:
        DatasetError: some photos cannot be decoded, it names them; or the disk is full.
    """
    path = cache / "pixels" / f"{source.key()}.npy"
    shape = (len(source.files), *source.image_size, 3)
    return stored_array(
        path, shape, "uint8", lambda row: _decode(source, row, progress)
    )


def cached_features(
    pixels: StoredArray, source: FeatureSource, cache: Path, progress: Progress
) -> StoredFeatures:
    """Features of all *pixels*, computed once for each key.

    Raises:
        DatasetError: the disk is full.
    """
    name = digest([*source.key, source.shapes, source.dtype])
    width = sum(math.prod(shape) for shape in source.shapes)

    def compute(start: int) -> Rows:
        for first, batch in pixels.batches(MAX_BATCH_SIZE, start):
            outputs = source.compute(first, batch)
            yield first, np.concatenate([_flat(each) for each in outputs], axis=1)
            progress(source.name, first + len(batch), len(pixels))

    path = cache / "features" / f"{name}.npy"
    array = stored_array(path, (len(pixels), width), source.dtype, compute)
    return StoredFeatures(array, tuple(source.shapes))


def digest(parts: Sequence[object]) -> str:
    """A short name for everything in *parts*, which JSON can write."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _flat(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.reshape(len(rows), -1)


def _decode(source: PixelSource, start: int, progress: Progress) -> Rows:
    bad: list[str] = []
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        for first in range(start, len(source.files), _CHUNK):
            files = source.files[first : first + _CHUNK]
            decoded = list(pool.map(lambda file: _pixels(file, source), files))
            bad += [each for each in decoded if isinstance(each, str)]
            if not bad:
                yield (
                    first,
                    np.stack([each for each in decoded if not isinstance(each, str)]),
                )
            progress(f"decode {source.name}", first + len(files), len(source.files))
    if bad:
        listed = "; ".join(bad[:10])
        message = f"{len(bad)} photos cannot be used, remove them: {listed}"
        raise DatasetError(message)


def _pixels(file: Path, source: PixelSource) -> Pixels | str:
    try:
        return decode_image(read_photo(file), source.image_size)
    except InvalidImageError as error:
        return f"{file}: {error}"


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
