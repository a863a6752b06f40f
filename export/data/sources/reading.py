"""The bytes of a photo, wherever it lies."""

from __future__ import annotations

import os
from pathlib import Path

from export.data.sources.archives import Archives
from export.data.sources.files import Origin
from export.data.sources.idx import is_idx, read_idx_png
from models.images.files import read_image_file


def read_origin(origin: Origin, archives: Archives) -> bytes:
    """An encoded image: a file's or archive member's bytes, or an IDX image as PNG.

    Raises:
        InvalidImageError: it cannot be read, is empty or larger than an image may be.
        DatasetError: its archive or IDX file cannot be read at all.
        StorageUnavailableError: its disk or mount cannot be read now.
    """
    if not origin.members:
        return read_photo(origin.location)
    if is_idx(origin.location.name):
        return read_idx_png(origin)
    return archives.read(origin)


def read_photo(path: Path) -> bytes:
    """The bytes of a photo in a folder to train on; unlike a job's, it may be a link.

    Raises:
        MissingImageError: there is no such file, or the link leads to nothing.
        InvalidImageError: no regular file, forbidden, empty or larger than an image may
            be.
        StorageUnavailableError: its disk or mount cannot be read now.
    """
    return read_image_file(Path(os.path.realpath(path)))
