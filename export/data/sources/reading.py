"""Reading a source: all its files, archives opened, and the bytes of each photo.

An IDX file (LeCun's format of MNIST) is read as an archive of PNG images.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from io import BufferedIOBase
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.data.sources.archives import Archives, stem_of
from export.data.sources.files import (
    ARCHIVE,
    CollectedPhotos,
    FileOrigin,
    Listing,
    SourceFile,
    SourcePhoto,
    as_findings,
    join_path,
    sort_files,
    walk_folder,
)
from models.errors import DatasetError
from models.images.codec import encode_png
from models.images.files import read_image_file

MAX_DEPTH: Final = 3
"""Levels of archives in archives: Kaggle nests two, a zip bomb many."""
MAX_IDX_BYTES: Final = 4 * 1024**3
_IDX_NAME: Final = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$")
_IDX_UNSIGNED_BYTES: Final = 8


def list_source(source: Path, archives: Archives) -> Listing:
    """All files of *source*, a folder or an archive; archives inside it are opened.

    If a file is both in a folder and in an archive of that name, the folder's is used: the
    archive was unpacked and left there. An archive is ignored if every file
    of it lies unpacked beside it.

    Raises:
        NotFoundError: there is no such folder or file.
        DatasetError: an archive is damaged, or cannot be read without `--encoding`.
        StorageUnavailableError: a disk or mount cannot be read now.
    """
    if source.is_file():
        listings = [archives.list_members(FileOrigin(source), "")]
    else:
        listings = [walk_folder(source)]
    opened: set[str] = set()
    level = list(listings)
    for _ in range(MAX_DEPTH):
        found = [file for each in level for file in each.files if file.kind == ARCHIVE]
        sizes = {file.path: file.size for each in listings for file in each.files}
        inside = [(x, archives.list_members(x.origin, x.path)) for x in found]
        level = [
            replace(each, files=(), folders=())
            if _is_unpacked(x, each, sizes)
            else each
            for x, each in inside
        ]
        opened |= {file.path for file in found}
        listings += level
    return _merge(listings, opened)


def read_encoded(origin: FileOrigin, archives: Archives) -> bytes:
    """An encoded image: a file's or archive member's bytes, or an IDX image as PNG.

    Raises:
        InvalidImageError: the image cannot be read, is empty or larger than one may be.
        DatasetError: its archive or IDX file cannot be read at all.
        StorageUnavailableError: its disk or mount cannot be read now.
    """
    if not origin.members:
        return read_photo(origin.location)
    if is_idx(origin.location.name):
        return _idx_png(origin)
    return archives.read(origin)


def read_photo(path: Path) -> bytes:
    """The bytes of a training photo; unlike a job's photo, it may be a link.

    Raises:
        MissingImageError: there is no such file, or the link leads to nothing.
        InvalidImageError: no regular file, forbidden, empty or larger than an image may
            be.
        StorageUnavailableError: its disk or mount cannot be read now.
    """
    return read_image_file(Path(os.path.realpath(path)))


def is_idx(name: str) -> bool:
    """Whether a file of that *name* is one of MNIST's IDX files."""
    return _IDX_NAME.search(name) is not None


def find_idx(listing: Listing) -> dict[tuple[str, str], SourceFile]:
    """The IDX files of *listing* by ("train" or "t10k", "images" or "labels")."""
    found = {}
    for file in listing.files:
        match = _IDX_NAME.search(file.name)
        if match and not file.origin.members:
            found[match[1], match[2]] = file
    return found


def collect_idx(listing: Listing, labels: Sequence[str]) -> CollectedPhotos:
    """One PNG for each image; those of t10k become test photos, with their labels.

    *labels* name the classes in their order; by default the digits do.

    Raises:
        DatasetError: a file is missing or damaged, or there are too few labels.
    """
    found = find_idx(listing)
    for kind in ("images", "labels"):
        if ("train", kind) not in found:
            message = f"no train-{kind}-idx file: give both images and labels"
            raise DatasetError(message)
    photos = _idx_photos(found["train", "images"], found["train", "labels"], labels)
    test: list[SourcePhoto] = []
    if {("t10k", "images"), ("t10k", "labels")} <= set(found):
        test = _idx_photos(found["t10k", "images"], found["t10k", "labels"], labels)
    return CollectedPhotos("idx", tuple(photos), tuple(test))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file.

    Raises:
        DatasetError: the file is no IDX file, cut off, or absurdly large.
    """
    try:
        with path.open("rb") as stream:
            if path.suffix != ".gz":
                return _parse_idx(path, stream)
            with gzip.GzipFile(fileobj=stream) as unzipped:
                return _parse_idx(path, unzipped)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        message = f"{path} is not a whole IDX file ({error}): download it again"
        raise DatasetError(message) from error


def _is_unpacked(
    archive: SourceFile, inside: Listing, sizes: Mapping[str, int]
) -> bool:
    start = len(stem_of(archive.path)) + 1
    return all(
        sizes.get(join_path(archive.folder, file.path[start:])) == file.size
        for file in inside.files
    )


def _merge(listings: list[Listing], opened: set[str]) -> Listing:
    files: dict[str, SourceFile] = {}
    others = []
    for listing in listings:
        for file in listing.files:
            if file.path in opened and file.kind == ARCHIVE:
                continue
            if files.setdefault(file.path, file).size != file.size:
                others.append(file.path)
    changed = as_findings(
        "file of an archive that is not as in the folder", others, "the folder's counts"
    )
    return Listing(
        tuple(sort_files(files.values())),
        tuple(sorted({name for each in listings for name in each.folders})),
        (*changed, *(finding for each in listings for finding in each.findings)),
    )


def _idx_png(origin: FileOrigin) -> bytes:
    return encode_png(_cached_idx(origin.location)[int(origin.members[0])])


# Several threads read the images of two files, train and t10k, one by one.
_cached_idx = lru_cache(maxsize=2)(read_idx)


def _idx_photos(
    images: SourceFile, labels: SourceFile, names: Sequence[str]
) -> list[SourcePhoto]:
    numbers = read_idx(labels.origin.location)
    pixels = _cached_idx(images.origin.location)
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
        SourcePhoto(_idx_image(images, index), names[number])
        for index, number in enumerate(numbers.tolist())
    ]


def _idx_image(images: SourceFile, index: int) -> SourceFile:
    origin = FileOrigin(images.origin.location, (str(index),))
    return SourceFile(f"{images.path}/{index}.png", 0, origin)  # size: once encoded


def _parse_idx(path: Path, stream: BufferedIOBase) -> NDArray[np.uint8]:
    zeros, kind, dimensions = struct.unpack(">HBB", stream.read(4))
    if zeros or kind != _IDX_UNSIGNED_BYTES or not 1 <= dimensions <= 3:
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
