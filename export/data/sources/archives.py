"""Zip files, read in place: nothing is unpacked, so nothing can be unpacked elsewhere.

Members are told by name only and read one by one, never more than an image's limit, so
neither a path that leads outside nor a bomb can do harm. A zip inside a zip, as Kaggle's
"download all" gives, is streamed into an anonymous temporary file, which vanishes with
the process.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Final, Self

from export.data.sources.files import ARCHIVE_SUFFIX, Listing, Origin, SourceFile
from export.data.sources.members import is_hidden_member, is_unsafe_member, place_member
from models.errors import DatasetError, InvalidImageError, StorageUnavailableError
from models.image_files import (
    FAULTS_OF_THE_FILE,
    check_image_bytes,
    explain_read_error,
)

MAX_MEMBERS: Final = 2_000_000
MAX_INNER_ARCHIVE_BYTES: Final = 64 * 1024**3
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # encrypted
    NotImplementedError,  # a compression that Python lacks
)


class Archives:
    """Opened zip files; ``with`` closes them. Threads may read at the same time."""

    def __init__(self, scratch: Path) -> None:
        """Keep inner archives, unpacked while open, on the disk of folder *scratch*."""
        self._scratch = scratch
        self._open: dict[Origin, zipfile.ZipFile] = {}
        self._closing = ExitStack()
        self._lock = Lock()

    def __enter__(self) -> Self:
        """Nothing is open yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every archive."""
        self._closing.close()

    def read(self, origin: Origin) -> bytes:
        """The bytes of one member.

        Raises:
            InvalidImageError: it is damaged, encrypted or larger than an image may be.
            DatasetError: the archive cannot be opened.
            StorageUnavailableError: its disk or mount cannot be read now.
        """
        archive = self._archive(Origin(origin.location, origin.members[:-1]))
        try:
            member = archive.getinfo(origin.members[-1])
            check_image_bytes(member.file_size)
            with archive.open(member) as stream:
                return stream.read()
        except (*_BROKEN, OSError, KeyError) as error:
            _check_disk(origin, error)
            message = f"it cannot be read from the zip file ({error})"
            raise InvalidImageError(message, code="unreadable_file") from error

    def list_members(self, origin: Origin, path: str) -> Listing:
        """What the zip file at *origin*, which stands at *path*, holds.

        Raises:
            DatasetError: it is not a zip file, or absurdly large.
        """
        archive = self._archive(origin)
        stem = path.removesuffix(ARCHIVE_SUFFIX)
        members = archive.infolist()
        unsafe = [each for each in members if is_unsafe_member(each)]
        safe = [each for each in members if not is_unsafe_member(each)]
        files = [
            SourceFile(
                place_member(stem, each.filename),
                each.file_size,
                Origin(origin.location, (*origin.members, each.filename)),
            )
            for each in safe
            if not each.is_dir() and not is_hidden_member(each)
        ]
        empty = {place_member(stem, each.filename) for each in safe if each.is_dir()}
        folders = {file.folder for file in files} | empty
        named = tuple(f"{path or origin.location.name}: {x.filename}" for x in unsafe)
        return Listing(tuple(files), tuple(sorted(folders)), named)

    def _archive(self, origin: Origin) -> zipfile.ZipFile:
        with self._lock:
            if origin not in self._open:
                self._open[origin] = self._opened(origin)
            return self._open[origin]

    def _opened(self, origin: Origin) -> zipfile.ZipFile:
        name = "/".join((str(origin.location), *origin.members))
        try:
            stream = self._stream(origin)
            archive = self._closing.enter_context(zipfile.ZipFile(stream))
        except (*_BROKEN, OSError, KeyError) as error:
            _check_disk(origin, error)
            message = f"{name} is not a whole zip file ({error}): download it again"
            raise DatasetError(message) from error
        if len(archive.infolist()) > MAX_MEMBERS:
            raise DatasetError(f"{name} holds more than {MAX_MEMBERS:,} files")
        return archive

    def _stream(self, origin: Origin) -> IO[bytes]:
        if not origin.members:
            return self._closing.enter_context(origin.location.open("rb"))
        with zipfile.ZipFile(origin.location) as outer:
            member = outer.getinfo(origin.members[0])
            free = shutil.disk_usage(self._scratch).free
            if member.file_size > min(free, MAX_INNER_ARCHIVE_BYTES):
                message = f"{member.file_size:,} bytes do not fit on {self._scratch}"
                raise OSError(message)
            inner = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
            self._closing.enter_context(inner)
            with outer.open(member) as stream:
                shutil.copyfileobj(stream, inner, 1024 * 1024)
        return inner


def _check_disk(origin: Origin, error: Exception) -> None:
    # Decompressors raise an OSError too, but without a number of the system.
    if isinstance(error, OSError) and error.errno not in {None, *FAULTS_OF_THE_FILE}:
        message = explain_read_error(origin.location, error)
        raise StorageUnavailableError(message) from error
