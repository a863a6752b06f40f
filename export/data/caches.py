"""Pixels and features on disk, keyed by everything that determines them.

A cache is a ``.npy`` file that is complete or absent; two runs may share one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.data.photos import Photo
from export.progress import Progress
from models.contract import MAX_BATCH_SIZE
from models.errors import DatasetError, InvalidImageError
from models.images import PREPROCESSING, Pixels, decode_image, read_image_file
from models.storage import temporary_beside

DECODING_THREADS = 4


@dataclass(frozen=True)
class PixelSource:
    """Photos of one part, as one size of pixels; ``name`` is for progress bars."""

    name: str
    folder: Path
    photos: Sequence[Photo]
    image_size: tuple[int, int]

    def key(self) -> str:
        """Changes with any file's content, the order, the size or the decoding."""
        hashes = [photo.sha256 for photo in self.photos]
        return _digest([hashes, self.image_size, PREPROCESSING])


def cached_pixels(source: PixelSource, cache: Path, progress: Progress) -> Pixels:
    """All photos of *source*, decoded once, uint8 [N, H, W, 3], memory-mapped.

    Raises:
        DatasetError: some photos cannot be decoded; it names them.
    """
    path = cache / "pixels" / f"{source.key()}.npy"
    shape = (len(source.photos), *source.image_size, 3)

    def fill(pixels: NDArray[Any]) -> None:
        bad = []
        with ThreadPoolExecutor(DECODING_THREADS) as pool:
            decoded = pool.map(lambda photo: _decode(source, photo), source.photos)
            for index, result in enumerate(decoded):
                if isinstance(result, str):
                    bad.append(result)
                else:
                    pixels[index] = result
                progress(f"decode {source.name}", index + 1, len(source.photos))
        if bad:
            listed = "; ".join(bad[:10])
            message = f"{len(bad)} photos cannot be used, remove them: {listed}"
            raise DatasetError(message)

    return _cached(path, shape, "uint8", fill)


def cached_features(
    pixels: Pixels,
    key: Sequence[object],
    cache: Path,
    compute: Callable[[Pixels], NDArray[np.float32]],
    progress: Callable[[int, int], None],
) -> NDArray[np.float32]:
    """*compute* over *pixels* in batches, once for each *key*; float32 [N, F]."""
    path = cache / "features" / f"{_digest(key)}.npy"
    if path.exists():
        return np.asarray(np.load(path, mmap_mode="r"))
    parts = []
    for start, batch in _batches(pixels):
        parts.append(compute(batch))
        progress(start + len(batch), len(pixels))
    features = np.concatenate(parts)
    return _cached(path, features.shape, "float32", lambda out: _copy(features, out))


def _batches(pixels: Pixels) -> Iterator[tuple[int, Pixels]]:
    for start in range(0, len(pixels), MAX_BATCH_SIZE):
        yield start, np.asarray(pixels[start : start + MAX_BATCH_SIZE])


def _copy(values: NDArray[Any], target: NDArray[Any]) -> None:
    target[:] = values


def _decode(source: PixelSource, photo: Photo) -> Pixels | str:
    try:
        image = read_image_file(source.folder / photo.file)
        return decode_image(image, source.image_size)
    except InvalidImageError as error:
        return f"{photo.file}: {error}"


def _cached(
    path: Path,
    shape: tuple[int, ...],
    dtype: str,
    fill: Callable[[NDArray[Any]], None],
) -> NDArray[Any]:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        try:
            array = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=dtype, shape=shape
            )
            fill(array)
            array.flush()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return np.asarray(np.load(path, mmap_mode="r"))


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
