"""The bytes of a photo, wherever it lies."""

from __future__ import annotations

from export.data.sources.archives import Archives
from export.data.sources.files import ARCHIVE_SUFFIX, Origin
from export.data.sources.idx import read_idx_png
from models.image_files import read_image_file


def read_origin(origin: Origin, archives: Archives) -> bytes:
    """An encoded image: a file's or zip member's bytes, or an IDX image as PNG.

    Raises:
        InvalidImageError: it cannot be read, is empty or larger than an image may be.
        DatasetError: its archive or IDX file cannot be read at all.
        StorageUnavailableError: its disk or mount cannot be read now.
    """
    if not origin.members:
        return read_image_file(origin.location)
    if origin.location.suffix.lower() == ARCHIVE_SUFFIX:
        return archives.read(origin)
    return read_idx_png(origin)
