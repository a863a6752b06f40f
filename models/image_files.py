"""Encoded images as files: read whole, of a bounded size, never through a link."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from models.errors import InvalidImageError

MAX_IMAGE_BYTES: Final = 32 * 1024 * 1024


def read_image_file(
    path: Path, max_bytes: int = MAX_IMAGE_BYTES, *, folder: int | None = None
) -> bytes:
    """The bytes of a regular file; links and FIFOs are never followed or waited on.

    A relative *path* is looked up in *folder*, an open descriptor, if there is one.

    Raises:
        InvalidImageError: gone, not a regular file, unreadable or above *max_bytes*.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, dir_fd=folder)
        try:
            # Before a stream is made of it: of a folder there is none to be closed.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidImageError("not a regular file", code="unreadable_file")
            check_image_bytes(status.st_size, max_bytes)
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                return stream.read(max_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        message = f"the file cannot be read ({error.strerror})"
        raise InvalidImageError(message, code="unreadable_file") from error


def check_image_bytes(count: int, max_bytes: int = MAX_IMAGE_BYTES) -> None:
    """Accept an encoded image of *count* bytes.

    Raises:
        InvalidImageError: it is empty or larger than *max_bytes*.
    """
    if count == 0:
        raise InvalidImageError("the image is empty (0 bytes)", code="empty_image")
    if count > max_bytes:
        message = (
            f"the image has {count:,} bytes, the limit is {max_bytes:,}: scale it down"
        )
        raise InvalidImageError(message, code="too_large")
