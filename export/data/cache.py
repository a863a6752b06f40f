"""Cache of pixels and features on disk, keyed by everything that determines them.

An array is complete or absent, may be larger than memory (each call maps the file anew),
and is resumed after a crash. If two runs want the same array, the second waits.
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
from models.images.codec import Pixels, decode_image
from models.images.preprocessing import NEWEST, Preprocessing

RowBatches = Iterator[tuple[int, NDArray[Any]]]
"""(first row, rows) in ascending order."""

_DECODING_THREADS = 4
_CHUNK = 4 * MAX_BATCH_SIZE
_HEADROOM_BYTES: Final = 64 * 1024 * 1024
_MARK_EVERY_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True)
class StoredArray:
    """An array [N, ...] in a ``.npy`` file, opened anew for each read."""

    path: Path
    shape: tuple[int, ...]
    dtype: str

    def __len__(self) -> int:
        """RowBatches, N."""
        return self.shape[0]

    def rows(self, chosen: NDArray[np.integer] | slice) -> NDArray[Any]:
        """A copy of the *chosen* rows."""
        return np.array(np.load(self.path, mmap_mode="r")[chosen])

    def batches(self, size: int, start: int = 0) -> Iterator[tuple[int, NDArray[Any]]]:
        """(first row, rows) of each batch of *size* from row *start* on, in order."""
        for first in range(start, len(self), size):
            yield first, self.rows(slice(first, first + size))


def stored_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: str,
    compute: Callable[[int], RowBatches],
) -> StoredArray:
    """The array at *path*; missing rows are computed and written first.

    *compute* yields rows from a given row on: 0, or the first row that a killed run had
    not stored.

    Raises:
        DatasetError: the disk is too small.
    """
    if path.exists():
        return _open_array(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if not path.exists():
            _complete(_PartialArray(path, shape, dtype), compute)
    return _open_array(path)


def cache_key(parts: Sequence[object]) -> str:
    """A short key for *parts*, which must be JSON."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class PixelSource:
    """Photos to decode in one way; ``name`` is for progress bars."""

    name: str
    files: Sequence[Path]
    hashes: Sequence[str]
    image_size: tuple[int, int]
    preprocessing: Preprocessing = NEWEST

    def key(self) -> str:
        """The key of the pixels: file contents and order, size, and preprocessing."""
        return cache_key([list(self.hashes), self.image_size, self.preprocessing])


def cached_pixels(source: PixelSource, cache: Path, progress: Progress) -> StoredArray:
    """All photos of *source*, decoded once, uint8 [N, H, W, 3].

    Raises:
        DatasetError: some photos cannot be decoded (the message names them), or the disk
            is full.
    """
    path = cache / "pixels" / f"{source.key()}.npy"
    shape = (len(source.files), *source.image_size, 3)
    return stored_array(
        path, shape, "uint8", lambda row: _decode(source, row, progress)
    )


@dataclass(frozen=True)
class FeatureSource:
    """How to compute features from pixels; ``key`` has everything that determines them.

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
    """Features of N photos on disk; all outputs of a photo are one row."""

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


def cached_features(
    pixels: StoredArray, source: FeatureSource, cache: Path, progress: Progress
) -> StoredFeatures:
    """Features of all *pixels*, computed once for each key.

    Raises:
        DatasetError: the disk is full.
    """
    name = cache_key([*source.key, source.shapes, source.dtype])
    width = sum(math.prod(shape) for shape in source.shapes)

    def compute(start: int) -> RowBatches:
        for first, batch in pixels.batches(MAX_BATCH_SIZE, start):
            outputs = source.compute(first, batch)
            yield first, np.concatenate([_flat(each) for each in outputs], axis=1)
            progress(source.name, first + len(batch), len(pixels))

    path = cache / "features" / f"{name}.npy"
    array = stored_array(path, (len(pixels), width), source.dtype, compute)
    return StoredFeatures(array, tuple(source.shapes))


def _open_array(path: Path) -> StoredArray:
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        message = f"the cached array {path} is damaged ({error}): delete it"
        raise DatasetError(message) from error
    return StoredArray(path, found.shape, str(found.dtype))


def _complete(partial: _PartialArray, compute: Callable[[int], RowBatches]) -> None:
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


class _PartialArray:
    """An unfinished array beside its final name, and the number of its stored rows."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        """Find the rows of an interrupted run, or allocate the disk space for all.

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
        """The number of rows that are certainly on disk."""
        if not self._mark.exists():
            return 0
        return int(self._mark.read_text(encoding="ascii") or 0)

    def write(self, first: int, rows: NDArray[Any]) -> None:
        """Write *rows* from row *first* on; sometimes flush, and mark what is stored."""
        target = np.load(self._array, mmap_mode="r+")
        target[first : first + len(rows)] = rows
        self._unmarked_bytes += len(rows) * self._row_bytes
        if self._unmarked_bytes >= _MARK_EVERY_BYTES:
            target.flush()
            write_atomically(self._mark, str(first + len(rows)))
            self._unmarked_bytes = 0

    def finish(self) -> None:
        """Give the complete array its final name."""
        sync_path(self._array)
        # The mark goes first: it must never describe an array that is not there.
        self._mark.unlink(missing_ok=True)
        self._array.replace(self._path)

    def discard(self) -> None:
        """Remove the array, whose source cannot be used."""
        self._mark.unlink(missing_ok=True)
        self._array.unlink(missing_ok=True)

    def _allocate(self, shape: tuple[int, ...], dtype: str) -> None:
        # Writing to a memory map on a full disk is a SIGBUS: allocate the blocks first.
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


def _decode(source: PixelSource, start: int, progress: Progress) -> RowBatches:
    bad: list[str] = []
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        for first in range(start, len(source.files), _CHUNK):
            files = source.files[first : first + _CHUNK]
            decoded = list(pool.map(lambda file: _pixels(file, source), files))
            bad += [each for each in decoded if isinstance(each, str)]
            if not bad:
                yield first, np.stack([x for x in decoded if not isinstance(x, str)])
            progress(f"decode {source.name}", first + len(files), len(source.files))
    if bad:
        listed = "; ".join(bad[:10])
        message = f"{len(bad)} photos cannot be used, remove them: {listed}"
        raise DatasetError(message)


def _pixels(file: Path, source: PixelSource) -> Pixels | str:
    try:
        image = read_photo(file)
        return decode_image(image, source.image_size, source.preprocessing)
    except InvalidImageError as error:
        return f"{file}: {error}"


def _flat(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.reshape(len(rows), -1)
