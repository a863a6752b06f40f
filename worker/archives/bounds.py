"""How much an archive may hold, and how a parser is kept from reading more.

Headers are claims. What counts is what was really read: compressed data can promise one
size and grow to another, and the standard library believes it.
"""

from __future__ import annotations

import errno
import io
from dataclasses import dataclass, replace
from typing import IO, Final, Self

from models.errors import InvalidRequestError, quoted
from models.images.files import MAX_IMAGE_BYTES

MAX_FILES: Final = 200_000
MAX_UNPACKED_BYTES: Final = 16 * 1024**3

INVALID_ARCHIVE: Final = "invalid_archive"
TOO_LARGE: Final = "too_large"
TOO_MANY_IMAGES: Final = "too_many_images"

_MAX_RATIO: Final = 200
"""Photos hardly shrink; bitmaps of one colour may shrink by 1000, so small ones pass."""

_ANY_RATIO_BYTES: Final = 64 * 1024**2


@dataclass(frozen=True)
class Bounds:
    """What an archive may hold.

    Attributes:
        files: entries of any kind, folders included.
        file_bytes: one unpacked image.
        total_bytes: all unpacked images.
    """

    files: int = MAX_FILES
    file_bytes: int = MAX_IMAGE_BYTES
    total_bytes: int = MAX_UNPACKED_BYTES

    def for_archive(self, archive_bytes: int) -> Self:
        """These bounds, tighter where an archive of that size would be a bomb."""
        plausible = _ANY_RATIO_BYTES + _MAX_RATIO * archive_bytes
        return replace(self, total_bytes=min(self.total_bytes, plausible))

    def check_count(self, count: int) -> None:
        """Accept *count* entries.

        Raises:
            InvalidRequestError: there are too many.
        """
        if count > self.files:
            reason = f"it has more than {self.files:,} entries: split it"
            raise refusal(reason, TOO_MANY_IMAGES)

    def check_file(self, name: str, count: int) -> None:
        """Accept *count* bytes for the file *name*.

        Raises:
            InvalidRequestError: they are too many.
        """
        if count > self.file_bytes:
            reason = f"{quoted(name)} is above {self.file_bytes:,} bytes: scale it down"
            raise refusal(reason, TOO_LARGE)

    def check_total(self, count: int) -> None:
        """Accept *count* bytes for all files.

        Raises:
            InvalidRequestError: they are too many.
        """
        if count > self.total_bytes:
            reason = f"it unpacks to more than {self.total_bytes:,} bytes: split it"
            raise refusal(reason, TOO_LARGE)


class OutsideError(OSError):
    """A parser looked at a place that is not there; parsers expect an OSError then."""


class BoundedReader:
    """A stream for a parser: it reads what it was allowed, at places that exist."""

    def __init__(self, stream: IO[bytes], end: int) -> None:
        """Read *stream* up to the position *end*."""
        self._stream = stream
        self._end = end
        self._allowed = 0

    def allow(self, count: int) -> None:
        """Let *count* bytes be read from now on; what was left before is void."""
        self._allowed = count

    def read(self, size: int = -1) -> bytes:
        """Up to *size* bytes; all that are left for -1.

        Raises:
            InvalidRequestError: that is more than is allowed.
        """
        room = self._end - self._stream.tell()
        count = min(size, room) if size >= 0 else room
        if count > self._allowed:
            raise refusal("its headers ask for too much: it is damaged or hostile")
        content = self._stream.read(count)
        self._allowed -= len(content)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position.

        Raises:
            OutsideError: there is no such position, or it is beyond the end.
        """
        if whence == io.SEEK_CUR:
            offset += self._stream.tell()
        elif whence == io.SEEK_END:
            offset += self._stream.seek(0, io.SEEK_END)
        if not 0 <= offset <= self._end:
            raise OutsideError(errno.EINVAL, "its headers point outside of it")
        return self._stream.seek(offset)

    def is_at_end(self) -> bool:
        """Whether the stream itself has no more, wherever reading was to stop."""
        return not self._stream.read(1)

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._stream.tell()


def refusal(reason: str, code: str = INVALID_ARCHIVE) -> InvalidRequestError:
    """The error that says why an archive is not taken."""
    return InvalidRequestError(f"the archive cannot be used: {reason}", code=code)
