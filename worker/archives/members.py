"""The files in a zip, tar or tar.gz, one after the other, each name checked first.

Anything that is neither a plain file nor a folder is refused, wherever it lies: an
archive with a link or a device in it was not made of photos.
"""

from __future__ import annotations

import gzip
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from models.errors import quoted
from models.images.formats import is_system_file
from models.text import is_writable
from worker.archives.bounds import OutsideError, refusal

_DRIVE: Final = re.compile("[A-Za-z]:")
_MAX_NAME_BYTES: Final = 255
_PARSER_ERRORS: Final = (
    OutsideError,
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RecursionError,
)


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        path: its folders, then its name.
        size: in bytes, as the archive claims.
        open: its content, until the next member is asked for.
    """

    path: tuple[str, ...]
    size: int
    open: Callable[[], IO[bytes]]

    @property
    def name(self) -> str:
        """The path as people write it."""
        return "/".join(self.path)

    @property
    def is_hidden(self) -> bool:
        """Whether it is the system's, or in such a folder: left out without a word."""
        return any(map(is_system_file, self.path))


def split_path(name: str) -> tuple[str, ...]:
    """The folders and the name of a member, relative to where an archive is unpacked.

    Backslashes separate folders too: some programs of Windows write them.

    Raises:
        InvalidRequestError: it would lead elsewhere, or cannot be a file's name.
    """
    name = name.replace("\\", "/")
    if not is_writable(name) and not is_system_file(name.rpartition("/")[2]):
        raise refusal(
            f"the name {name[:80]!a} is not UTF-8, or holds a control character: rename "
            "the file and pack it again"
        )
    if name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
        raise refusal(f"{quoted(name)} is absolute or holds '..': pack relative paths")
    path = tuple(part for part in name.split("/") if part not in {"", "."})
    if any(len(part.encode()) > _MAX_NAME_BYTES for part in path):
        raise refusal(f"the name {quoted(name)} is too long: rename the file")
    return path


@contextmanager
def explained_damage() -> Iterator[None]:
    """Turn what the parsers raise into a refusal.

    Raises:
        InvalidRequestError: the archive is damaged, or is none.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        reason = (
            f"the name {quoted(error.object)} is not UTF-8, but of an older encoding: "
            "pack it again with a program that writes UTF-8 names (7-Zip, zip, macOS)"
        )
        raise refusal(reason) from error
    except _PARSER_ERRORS as error:
        reason = f"it is damaged, or no zip, tar or tar.gz ({error}): pack it again"
        raise refusal(reason) from error
