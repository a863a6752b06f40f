"""Pixels and features of photos on disk, keyed by everything that determines them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.data.arrays import Rows, StoredArray, stored_array
from export.data.sources.reading import read_photo
from export.progress import Progress
from models.contract import MAX_BATCH_SIZE
from models.errors import DatasetError, InvalidImageError
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
