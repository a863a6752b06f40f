"""Image files: read whole, never through a link, within bounds of bytes and pixels."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from models.errors import (
    InvalidImageError,
    MissingImageError,
    StorageUnavailableError,
)

MAX_IMAGE_BYTES: Final = 32 * 1024 * 1024

MAX_SIDE: Final = 30_000
MAX_PIXELS: Final = 256_000_000
"""Default of the setting of this name. Phones make up to 16,384 x 12,288."""

FILE_FAULTS: Final = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
        *(errno.EACCES, errno.EPERM),
    }
)
"""Error numbers of a file that is gone, behind a link, or forbidden; any other is a fault
of the storage."""

_most_pixels = MAX_PIXELS

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_UNREADABLE: Final = "the file cannot be read ({})"


def read_image_file(
    path: Path, max_bytes: int = MAX_IMAGE_BYTES, *, folder: int | None = None
) -> bytes:
    """The bytes of a regular file; links and FIFOs are never followed or waited on.

    A relative *path* is looked up in *folder*, an open descriptor, if there is one.

    Raises:
        MissingImageError: there is no such file.
        InvalidImageError: a link, no regular file, forbidden, empty or above
            *max_bytes*.
        StorageUnavailableError: its disk or mount cannot be read now, or this process
            has too many files open; the image itself may be sound.
    """
    try:
        return _read_regular(path, max_bytes, folder)
    except FileNotFoundError as error:
        raise MissingImageError(_UNREADABLE.format(error.strerror)) from error
    except OSError as error:
        if error.errno in FILE_FAULTS or _is_special(path, folder):
            message = _UNREADABLE.format(error.strerror)
            raise InvalidImageError(message, code="unreadable_file") from error
        raise StorageUnavailableError(explain_read_error(path, error)) from error


def limit_pixels(count: int) -> None:
    """Refuse images of more than *count* pixels from now on, in the whole process.

    Called at the start of a process only, so that all its threads have the same limit.
    """
    global _most_pixels
    _most_pixels = count


def most_pixels() -> int:
    """The most pixels that an image may have in this process."""
    return _most_pixels


def explain_read_error(path: Path | str, error: OSError) -> str:
    """The message for a file that cannot be read now, though it may be sound."""
    return (
        f"{str(path)!r} cannot be read now ({error.strerror}): check its disk or "
        "mount, then try again"
    )


def check_image_bytes(count: int, max_bytes: int = MAX_IMAGE_BYTES) -> None:
    """Accept an encoded image of *count* bytes.

    Raises:
        InvalidImageError: the image is empty or larger than *max_bytes*.
    """
    if count == 0:
        raise InvalidImageError("the image is empty (0 bytes)", code="empty_image")
    if count > max_bytes:
        message = (
            f"the image has {count:,} bytes, the limit is {max_bytes:,}: scale it down"
        )
        raise InvalidImageError(message, code="too_large")


def _read_regular(path: Path, max_bytes: int, folder: int | None) -> bytes:
    descriptor = os.open(path, _FLAGS, dir_fd=folder)
    try:
        # Before a stream is opened: a folder has none.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidImageError("not a regular file", code="unreadable_file")
        check_image_bytes(status.st_size, max_bytes)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(max_bytes)
    finally:
        os.close(descriptor)


def _is_special(path: Path, folder: int | None) -> bool:
    # A socket or a device without a driver cannot be opened: the disk is not at fault.
    try:
        status = os.stat(path, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return not stat.S_ISREG(status.st_mode)
