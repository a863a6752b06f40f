"""MNIST's IDX files: big-endian arrays of bytes, plain or gzipped.

The format is described at http://yann.lecun.com/exdb/mnist: two zero bytes, the type (8
for unsigned bytes), the number of dimensions, each dimension as 32 bits, the values.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from io import BufferedIOBase
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.data.sources.files import Listing, Origin, SourceFile
from export.data.sources.photos import Collection, SourcePhoto
from models.errors import DatasetError
from models.images.codec import encode_png

MAX_IDX_BYTES: Final = 4 * 1024**3
_NAME: Final = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$")
_UNSIGNED_BYTES: Final = 8


def is_idx(name: str) -> bool:
    """Whether a file of that *name* is one of MNIST's."""
    return _NAME.search(name) is not None


def find_idx(listing: Listing) -> dict[tuple[str, str], SourceFile]:
    """The IDX files of *listing* by ("train" or "t10k", "images" or "labels")."""
    found = {}
    for file in listing.files:
        match = _NAME.search(file.name)
        if match and not file.origin.members:
            found[match[1], match[2]] = file
    return found


def collect_idx(listing: Listing, labels: Sequence[str]) -> Collection:
    """One PNG for each image; t10k's become the test photos, with their labels.

    *labels* name the classes in their order; without any, the digits do.

    Raises:
        DatasetError: a file is missing or damaged, or there are too few labels.
    """
    found = find_idx(listing)
    for kind in ("images", "labels"):
        if ("train", kind) not in found:
            message = f"no train-{kind}-idx file: give both images and labels"
            raise DatasetError(message)
    photos = _photos(found["train", "images"], found["train", "labels"], labels)
    test: list[SourcePhoto] = []
    if {("t10k", "images"), ("t10k", "labels")} <= set(found):
        test = _photos(found["t10k", "images"], found["t10k", "labels"], labels)
    return Collection("idx", tuple(photos), tuple(test))


def read_idx_png(origin: Origin) -> bytes:
    """The image of number ``origin.members[0]`` as a PNG, without loss.

    Raises:
        DatasetError: the file is damaged.
    """
    return encode_png(_cached(origin.location)[int(origin.members[0])])


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file.

    Raises:
        DatasetError: it is not one, is cut off, or absurdly large.
    """
    try:
        with path.open("rb") as stream:
            if path.suffix != ".gz":
                return _read(path, stream)
            with gzip.GzipFile(fileobj=stream) as unzipped:
                return _read(path, unzipped)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        message = f"{path} is not a whole IDX file ({error}): download it again"
        raise DatasetError(message) from error


# Two files, images of both parts, are read image by image from several threads.
_cached = lru_cache(maxsize=2)(read_idx)


def _read(path: Path, stream: BufferedIOBase) -> NDArray[np.uint8]:
    zeros, kind, dimensions = struct.unpack(">HBB", stream.read(4))
    if zeros or kind != _UNSIGNED_BYTES or not 1 <= dimensions <= 3:
        message = f"{path} is no IDX file of unsigned bytes: look at its first bytes"
        raise DatasetError(message)
    shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
    count = int(np.prod(shape, dtype=object))
    if count > MAX_IDX_BYTES:
        raise DatasetError(f"{path} claims {count:,} bytes: {MAX_IDX_BYTES:,} at most")
    values = stream.read(count)
    if len(values) != count or stream.read(1):
        message = f"{path} should hold {count:,} values but does not: download it again"
        raise DatasetError(message)
    return np.frombuffer(values, np.uint8).reshape(shape)


def _photos(
    images: SourceFile, labels: SourceFile, names: Sequence[str]
) -> list[SourcePhoto]:
    numbers = read_idx(labels.origin.location)
    pixels = _cached(images.origin.location)
    if numbers.ndim != 1 or pixels.ndim != 3 or len(numbers) != len(pixels):
        message = (
            f"{images.path} has shape {pixels.shape}, {labels.path} {numbers.shape}: "
            "they do not belong together"
        )
        raise DatasetError(message)
    highest = int(numbers.max(initial=0))
    names = names or [str(number) for number in range(highest + 1)]
    if highest >= len(names):
        message = (
            f"{labels.path} holds class {highest}, but there are {len(names)} labels: "
            "name all of them with --labels"
        )
        raise DatasetError(message)
    return [
        SourcePhoto(_image_file(images, index), names[number])
        for index, number in enumerate(numbers.tolist())
    ]


def _image_file(images: SourceFile, index: int) -> SourceFile:
    origin = Origin(images.origin.location, (str(index),))
    return SourceFile(f"{images.path}/{index}.png", 0, origin)  # size: once encoded
