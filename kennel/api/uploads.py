"""Photos on their way to a job: an archive as it is, or a folder packed while it is sent.

The same folder gives the same bytes, so that a repeated upload is known as the same.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from models.errors import InvalidRequestError

ARCHIVE_TYPES: Final = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".tar.gz": "application/gzip",
    ".tgz": "application/gzip",
}

ANSWER_SECONDS: Final = 900.0
"""The API unpacks an archive before it answers."""

TOTAL_SECONDS: Final = 24 * 3600.0

Sent: TypeAlias = Callable[[int, int], None]
"""Called with (bytes sent, bytes in all)."""

LeftOut: TypeAlias = Callable[[Sequence[str]], None]
"""Called, before anything is sent, with the names in a folder that are no photos."""

_CHUNK_BYTES: Final = 1024 * 1024
_END: Final = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Upload:
    """A body that can be sent more than once.

    Attributes:
        name: what the job's status calls it, in UTF-8.
        size: in bytes.
        chunks: its content, from the start each time.
        left_out: names in the folder that are no photos, and are not sent.
    """

    name: str
    content_type: str
    size: int
    chunks: Callable[[], Iterator[bytes]]
    left_out: Sequence[str] = ()


def sent_name(path: Path) -> str:
    """The name of the file at *path* as it is sent: UTF-8, with ``?`` for other bytes."""
    return path.name.encode(errors="replace").decode()


def prepare_upload(path: Path) -> Upload:
    """What sends the archive or the folder at *path*.

    Raises:
        InvalidRequestError: it is neither, or a folder without usable images.
        OSError: it cannot be read.
    """
    if path.is_dir():
        return _folder(path)
    for ending, kind in ARCHIVE_TYPES.items():
        if path.name.lower().endswith(ending):
            size = path.stat().st_size
            return Upload(sent_name(path), kind, size, partial(_read, path, size))
    known = ", ".join(ARCHIVE_TYPES)
    raise InvalidRequestError(f"{path} is no folder and no archive ({known})")


def prepare_sheet(path: Path) -> Upload:
    """What sends the CSV file at *path*.

    Raises:
        InvalidRequestError: there is no such file.
    """
    if not path.is_file():
        raise InvalidRequestError(f"{path} is no file: name a CSV file")
    size = path.stat().st_size
    return Upload(sent_name(path), "text/csv", size, partial(_read, path, size))


def _folder(folder: Path) -> Upload:
    # Not above: it brings Pillow and numpy, which most commands do without.
    from worker.sources.local import LocalFolder
    from worker.sources.source import list_photos

    listing = list_photos(LocalFolder(folder, str(folder)))
    paths = [folder / item.file for item in listing.items]
    files = [(path, _size(path)) for path in paths]
    heads = (len(_head(file, size)) + _padded(size) for file, size in files)
    total = sum(heads) + len(_END)

    def chunks() -> Iterator[bytes]:
        for file, size in files:
            yield _head(file, size)
            yield from _read(file, size)
            yield bytes(_padded(size) - size)
        yield _END

    name = sent_name(folder.resolve())
    return Upload(name, "application/x-tar", total, chunks, listing.ignored)


def _size(file: Path) -> int:
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequestError(f"{file} is no plain file: remove it")
    return status.st_size


def _head(file: Path, size: int) -> bytes:
    # Without time and owner: they would make each upload another one.
    entry = tarfile.TarInfo(file.name)
    entry.size = size
    return entry.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _read(file: Path, size: int) -> Iterator[bytes]:
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        left = size
        while left:
            chunk = stream.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise InvalidRequestError(f"{file} shrank while it was sent: try again")
            left -= len(chunk)
            yield chunk
