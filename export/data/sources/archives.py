"""Zip and tar archives, read in place: no member is ever written under its own name.

Members are read one by one, up to the size limit of an image, so neither a path that
leads outside nor a zip bomb can do harm. An archive inside an archive, as in Kaggle's
"download all", and the tar file inside a compressed one are streamed into an anonymous
temporary file, which vanishes with the process.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from types import TracebackType
from typing import IO, Final, Protocol, Self

from export.data.sources.files import (
    ARCHIVE_SUFFIXES,
    HIDDEN_FOLDER,
    PIECE,
    FileOrigin,
    Listing,
    SourceFile,
    as_findings,
    kind_of,
)
from models.errors import (
    DatasetError,
    InvalidImageError,
    InvalidRequestError,
    StorageUnavailableError,
    quoted,
)
from models.images.files import FILE_FAULTS, check_image_bytes, explain_read_error
from models.images.formats import START_BYTES, describe_file, is_system_file
from models.text import is_utf8

MAX_MEMBERS: Final = 2_000_000
MAX_UNPACKED_BYTES: Final = 64 * 1024**3
"""Limit of an archive inside an archive, and of the tar file inside a compressed one."""
_BROKEN: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # encrypted
    NotImplementedError,  # a compression that Python lacks
)
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
_STARTS: Final = (b"PK", _GZIP, _BZIP2, _XZ)
_SPLIT: Final = "it is a piece of a split archive: unpack it, and give the folder"
_UTF8_NAME: Final = 0x800
_ENCRYPTED: Final = 0x1
_CHUNK_BYTES: Final = 1024 * 1024
_LIKELY_ENCODINGS: Final = ("gbk", "shift_jis", "cp866", "cp437")


class Archives:
    """Open archives, closed at the end of ``with``. Threads may read at the same time."""

    def __init__(self, scratch: Path, encoding: str | None = None) -> None:
        """Archives whose temporary files go to the disk of the folder *scratch*.

        *encoding* is that of member names without a declared one; None: UTF-8.

        Raises:
            InvalidRequestError: there is no such encoding.
        """
        try:
            "".encode(encoding or "utf-8")
        except LookupError as error:
            message = f"--encoding {quoted(encoding)}: no such encoding; try gbk"
            raise InvalidRequestError(message) from error
        self._scratch = scratch
        self._encoding = encoding
        self._open: dict[FileOrigin, _Archive] = {}
        self._closing = ExitStack()
        self._lock = Lock()

    def __enter__(self) -> Self:
        """Open nothing yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every archive."""
        self._closing.close()

    def read(self, origin: FileOrigin) -> bytes:
        """The bytes of one member.

        Raises:
            InvalidImageError: the member is damaged or larger than an image may be.
            DatasetError: the archive cannot be opened.
            StorageUnavailableError: its disk or mount cannot be read now.
        """
        archive = self._archive(FileOrigin(origin.location, origin.members[:-1]))
        try:
            check_image_bytes(archive.size(origin.members[-1]))
            with archive.open(origin.members[-1]) as stream:
                return stream.read()
        except (*_BROKEN, OSError, KeyError) as error:
            _check_disk(origin, error)
            message = f"it cannot be read from the {archive.kind} file ({error})"
            raise InvalidImageError(message, code="unreadable_file") from error

    def list_members(self, origin: FileOrigin, path: str) -> Listing:
        """All members of the archive at *origin*, listed below *path* of the source.

        Raises:
            DatasetError: the file is no archive, encrypted or absurdly large, or the
                encoding of its names is unknown.
        """
        archive = self._archive(origin)
        stem = stem_of(path)
        files: dict[str, SourceFile] = {}
        folders, hidden = set[str](), set[str]()
        unsafe, replaced = [], []
        for member in archive.members:
            parts = _parts(member.name)
            if _leads_outside(member.name) or not member.safe:
                unsafe.append(f"{path or origin.location.name}: {member.name}")
            elif any(is_system_file(part) for part in parts):
                hidden |= _hidden_folder(stem, parts, member.is_folder)
            elif member.is_folder:
                folders.add(_place(stem, parts))
            else:
                file = self._file(origin, archive, member, _place(stem, parts))
                if file.path in files:
                    replaced.append(file.path)
                files[file.path] = file
        folders |= {file.folder for file in files.values()}
        folders.discard("")
        kind = f"unsafe {archive.kind} member"
        findings = (
            *as_findings(kind, unsafe, "it was left out"),
            *as_findings(HIDDEN_FOLDER, sorted(hidden), "it was left out"),
            *as_findings(
                "file that is twice in the archive", replaced, "the last one counts"
            ),
        )
        return Listing(tuple(files.values()), tuple(sorted(folders)), findings)

    def _file(
        self, origin: FileOrigin, archive: _Archive, member: _Member, path: str
    ) -> SourceFile:
        def start() -> bytes:
            try:
                with archive.open(member.name) as stream:
                    return stream.read(START_BYTES)
            except (*_BROKEN, OSError) as error:
                _check_disk(origin, error)
                return b""

        place = FileOrigin(origin.location, (*origin.members, member.name))
        kind = kind_of(path.rpartition("/")[2], start)
        return SourceFile(path, member.size, place, kind)

    def _archive(self, origin: FileOrigin) -> _Archive:
        with self._lock:
            return self._opened(origin)

    def _opened(self, origin: FileOrigin) -> _Archive:
        if origin in self._open:
            return self._open[origin]
        name = "/".join((str(origin.location), *origin.members))
        kind = "zip" if name.lower().endswith(".zip") else "zip or tar"
        try:
            archive = self._archive_in(self._stream(origin), name)
        except UnicodeDecodeError as error:
            message = (
                f"{name} has names that are not {error.encoding}: give their --encoding"
            )
            raise DatasetError(message) from error
        except (*_BROKEN, OSError, KeyError, ValueError) as error:
            _check_disk(origin, error)
            message = f"{name} is not a whole {kind} file ({error}): {_remedy(origin)}"
            raise DatasetError(message) from error
        if len(archive.members) > MAX_MEMBERS:
            raise DatasetError(f"{name} holds more than {MAX_MEMBERS:,} files")
        self._open[origin] = archive
        return archive

    def _archive_in(self, stream: IO[bytes], name: str) -> _Archive:
        start = stream.read(START_BYTES)
        stream.seek(0)
        if zipfile.is_zipfile(stream):
            return _Zip(stream, self._encoding, name)
        stream.seek(0)
        known = start.startswith(_STARTS) or start[257:262] == b"ustar"
        named = name.lower().endswith(ARCHIVE_SUFFIXES)
        what = None if known else describe_file(start)
        if what or not (known or named):
            raise _no_archive(name, what, named=named)
        if name.lower().endswith(".zip"):
            raise zipfile.BadZipFile("it has no directory at its end")
        unpacked = _decompressed(stream, start)
        if unpacked is not None:
            stream = self._kept(unpacked, MAX_UNPACKED_BYTES)
        return _Tar(stream, self._encoding, name)

    def _stream(self, origin: FileOrigin) -> IO[bytes]:
        if not origin.members:
            return self._closing.enter_context(origin.location.open("rb"))
        outer = self._opened(FileOrigin(origin.location, origin.members[:-1]))
        with outer.open(origin.members[-1]) as stream:
            return self._kept(stream, outer.size(origin.members[-1]))

    def _kept(self, stream: IO[bytes], size: int) -> IO[bytes]:
        # A compressed file does not state its unpacked size: count while copying.
        free = shutil.disk_usage(self._scratch).free
        kept = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
        self._closing.enter_context(kept)
        copied = 0
        while chunk := stream.read(_CHUNK_BYTES):
            copied += len(chunk)
            if copied > min(free, size, MAX_UNPACKED_BYTES):
                raise OSError(f"unpacked, it does not fit on {self._scratch}")
            kept.write(chunk)
        kept.flush()
        kept.seek(0)
        return kept


def stem_of(path: str) -> str:
    """The folder that an archive at *path* is listed as: the path without suffix."""
    suffixes = (each for each in ARCHIVE_SUFFIXES if path.lower().endswith(each))
    return path[: len(path) - len(max(suffixes, key=len, default=""))]


@dataclass(frozen=True)
class _Member:
    """``name`` is as stored; ``safe``: a plain file or folder, not a link or device."""

    name: str
    size: int
    is_folder: bool
    safe: bool


class _Archive(Protocol):
    """An open archive whose members can be read by name."""

    kind: str
    members: list[_Member]

    def size(self, name: str) -> int: ...

    def open(self, name: str) -> IO[bytes]: ...


class _Zip:
    kind = "zip"

    def __init__(self, stream: IO[bytes], encoding: str | None, name: str) -> None:
        self._zip = _open_zip(stream, encoding, name)
        infos = self._zip.infolist()
        if any(info.flag_bits & _ENCRYPTED for info in infos):
            raise DatasetError(f"{name} is encrypted: unpack it first")
        if any(info.volume for info in infos):
            raise DatasetError(f"{name} cannot be read: {_SPLIT}")
        self.members = [
            _Member(
                info.filename,
                info.file_size,
                info.filename.endswith(("/", "\\")),
                not stat.S_ISLNK(info.external_attr >> 16),
            )
            for info in infos
        ]

    def size(self, name: str) -> int:
        return self._zip.getinfo(name).file_size

    def open(self, name: str) -> IO[bytes]:
        return self._zip.open(name)


class _Tar:
    kind = "tar"

    def __init__(self, stream: IO[bytes], encoding: str | None, name: str) -> None:
        self._stream = stream
        encoding = encoding or "utf-8"
        with tarfile.open(fileobj=stream, mode="r:", encoding=encoding) as tar:
            every = list(tar)
        infos = {info.name: info for info in every}
        unnamed = next((each for each in infos if not is_utf8(each)), None)
        if unnamed is not None:
            raise _unknown_names(name, unnamed.encode(encoding, "surrogateescape"))
        self._files = {
            info.name: (file.offset_data, file.size)
            for info in infos.values()
            if (file := _linked(info, infos)) is not None
        }
        self.members = [
            _Member(
                info.name,
                info.size or self._files.get(info.name, (0, 0))[1],
                info.isdir(),
                info.isdir() or info.name in self._files,
            )
            for info in every
        ]

    def size(self, name: str) -> int:
        return self._files[name][1]

    def open(self, name: str) -> IO[bytes]:
        window = _Window(self._stream.fileno(), *self._files[name])
        return io.BufferedReader(window)


class _Window(io.RawIOBase):
    """A part of a file, read by position, so threads share no read pointer."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        super().__init__()
        self._descriptor, self._at, self._end = descriptor, start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._at)
        found = os.pread(self._descriptor, wanted, self._at)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def _linked(
    info: tarfile.TarInfo, infos: dict[str, tarfile.TarInfo]
) -> tarfile.TarInfo | None:
    # tar stores further hard links to one file as links to the first of them.
    target = infos.get(info.linkname) if info.islnk() else info
    return target if target and target.isreg() and not target.issparse() else None


def _decompressed(stream: IO[bytes], start: bytes) -> IO[bytes] | None:
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
    if start.startswith(_BZIP2):
        return bz2.BZ2File(stream)
    if start.startswith(_XZ):
        return lzma.LZMAFile(stream)
    return None


def _open_zip(stream: IO[bytes], encoding: str | None, name: str) -> zipfile.ZipFile:
    if encoding is not None:
        return zipfile.ZipFile(stream, metadata_encoding=encoding)
    archive = zipfile.ZipFile(stream)
    # Names without the UTF-8 flag are read as CP437, but most programs write UTF-8.
    raw = [
        info.orig_filename.encode("cp437")
        for info in archive.infolist()
        if not info.flag_bits & _UTF8_NAME
    ]
    if all(each.isascii() for each in raw):
        return archive
    for each in raw:
        try:
            each.decode()
        except UnicodeDecodeError as error:
            raise _unknown_names(name, each) from error
    return zipfile.ZipFile(stream, metadata_encoding="utf-8")


def _unknown_names(archive: str, raw: bytes) -> DatasetError:
    readings = []
    for encoding in _LIKELY_ENCODINGS:
        try:
            readings.append(f"{quoted(raw.decode(encoding))} in {encoding}")
        except UnicodeDecodeError:
            continue
    message = (
        f"{archive} has names that are not UTF-8, such as {quoted(raw)}: give their "
        f"encoding with --encoding; that name is {', '.join(readings)}"
    )
    return DatasetError(message)


def _no_archive(name: str, what: str | None, *, named: bool) -> DatasetError:
    if named:
        remedy = "download it again"
    elif what is None or what.endswith("archive"):
        remedy = "unpack it first, and give the folder"
    else:
        remedy = "give the folder of the photos"
    but = f", but {what}" if what else ""
    return DatasetError(
        f"{name} is neither a folder nor a zip or tar file{but}: {remedy}"
    )


def _remedy(origin: FileOrigin) -> str:
    is_piece = PIECE.search(origin.location.name) is not None
    return _SPLIT if is_piece else "download it again"


def _leads_outside(name: str) -> bool:
    name = name.replace("\\", "/")
    outside = name.startswith("/") or ".." in name.split("/")
    return outside or any(ord(letter) < 32 for letter in name) or ":" in name[:2]


def _place(stem: str, parts: list[str]) -> str:
    # train.zip may hold train/cat.0.jpg or cat.0.jpg: both become train/cat.0.jpg.
    if stem and parts[:1] == [PurePosixPath(stem).name]:
        parts = parts[1:]
    return "/".join(([stem] if stem else []) + parts)


def _hidden_folder(stem: str, parts: list[str], is_folder: bool) -> set[str]:
    # Only the outermost hidden folder is reported.
    number = next(i for i, part in enumerate(parts) if is_system_file(part))
    is_inside = is_folder or number + 1 < len(parts)
    hidden = is_inside and parts[number].startswith(".")
    return {_place(stem, parts[: number + 1])} if hidden else set()


def _parts(name: str) -> list[str]:
    # Some Windows programs write backslashes, against the format.
    return [
        part for part in name.replace("\\", "/").split("/") if part not in {"", "."}
    ]


def _check_disk(origin: FileOrigin, error: Exception) -> None:
    # Decompressors raise OSError too, but without an errno.
    if isinstance(error, OSError) and error.errno not in {None, *FILE_FAULTS}:
        message = explain_read_error(origin.location, error)
        raise StorageUnavailableError(message) from error
