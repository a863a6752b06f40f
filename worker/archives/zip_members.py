"""The files in a zip.

The parser believes the list of files at a zip's end. So all bytes before it must belong
to listed files, and nothing may follow: else files would be lost unseen.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import IO, Final, cast
from zipfile import ZipFile, ZipInfo

from models.errors import quoted
from worker.archives.bounds import BoundedReader, Bounds, refusal
from worker.archives.members import Member, split_path

_ENCRYPTED: Final = 0x1
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PLAIN_KINDS: Final = (0, stat.S_IFREG, stat.S_IFDIR)

_HAS_DESCRIPTOR: Final = 0x8
_DESCRIPTORS: Final = frozenset({12, 16, 20, 24})
"""Bytes after a file's data, if its header did not know its size yet."""

_LOCAL: Final = struct.Struct("<26xHH")
"""A file's own header, of which only the lengths of its name and extras are read."""

_END: Final = struct.Struct("<10xH8xH")
"""The record at the very end: the number of files, and the length of the comment."""

_END_MARK: Final = b"PK\5\6"
_MAX_COMMENT: Final = 0xFFFF
_SPLIT_MARKERS: Final = frozenset({b"PK00", b"PK\7\x08"})
_MAX_GAP: Final = 64 * 1024
"""Zeros between files, which programs leave to align them."""

_CATALOGUE_BYTES: Final = 32 * 1024**2
"""The list of files at a zip's end, which the parser reads at once: 160 bytes for each
of 200,000."""


def zip_members(stream: IO[bytes], bounds: Bounds) -> Iterator[Member]:
    """The files of a zip.

    Raises:
        InvalidRequestError: an entry that is not taken, or too many.
        Exception: what the parser raises for a damaged zip.
    """
    size = stream.seek(0, io.SEEK_END)
    reader = BoundedReader(stream, size)
    reader.allow(_CATALOGUE_BYTES)
    # Names without the mark for UTF-8 are taken for UTF-8: macOS leaves it out.
    with ZipFile(cast("IO[bytes]", reader), metadata_encoding="utf-8") as archive:
        entries = archive.infolist()
        bounds.check_count(len(entries))
        reader.allow(_CATALOGUE_BYTES)
        _check_end(reader, size, len(entries))
        _check_gaps(reader, entries, archive.start_dir)
        # Entries that share their data, as bombs do, use this up.
        reader.allow(2 * size + _CATALOGUE_BYTES)
        for entry in entries:
            path = split_path(entry.orig_filename)
            _check(entry)
            if not entry.orig_filename.endswith(("/", "\\")):
                yield Member(path, entry.file_size, partial(archive.open, entry))


def _check_end(reader: BoundedReader, size: int, count: int) -> None:
    start = reader.seek(max(0, size - _END.size - _MAX_COMMENT))
    tail = reader.read()
    found = tail.rfind(_END_MARK)
    marked, comment = _END.unpack_from(tail, found)
    if start + found + _END.size + comment != size:
        raise refusal("it is damaged: more follows after its end, send it again")
    # In a large zip the number does not fit: then it stands elsewhere.
    if marked not in {count, 0xFFFF}:
        raise refusal(f"it is damaged: of {marked:,} files it lists {count:,}")


def _check_gaps(reader: BoundedReader, entries: list[ZipInfo], end: int) -> None:
    position, descriptor = 0, False
    for entry in sorted(entries, key=lambda each: each.header_offset):
        _check_gap(reader, position, entry.header_offset, descriptor)
        reader.seek(entry.header_offset)
        names = _LOCAL.unpack(reader.read(_LOCAL.size))
        position = reader.tell() + sum(names) + entry.compress_size
        descriptor = bool(entry.flag_bits & _HAS_DESCRIPTOR)
    _check_gap(reader, position, end, descriptor)


def _check_gap(reader: BoundedReader, start: int, end: int, descriptor: bool) -> None:
    count = end - start
    if count == 0 or (descriptor and count in _DESCRIPTORS):
        return
    if count > 0:
        reader.seek(start)
        between = reader.read(min(count, _MAX_GAP))
        is_marker = start == 0 and between in _SPLIT_MARKERS
        if is_marker or (count <= _MAX_GAP and not between.strip(b"\0")):
            return
    raise refusal(
        "it is damaged: it holds more than its list of files names, or less; pack it "
        "again, or send the whole file again"
    )


def _check(entry: ZipInfo) -> None:
    if entry.flag_bits & _ENCRYPTED:
        raise refusal(
            f"{quoted(entry.filename)} is encrypted: pack it without a password"
        )
    # The upper half holds Unix's file mode; zips from elsewhere leave it empty.
    if stat.S_IFMT(entry.external_attr >> 16) not in _PLAIN_KINDS:
        raise refusal(
            f"{quoted(entry.filename)} is a link or special file: pack files only"
        )
    if entry.compress_type not in _METHODS:
        raise refusal(
            f"{quoted(entry.filename)} is compressed by method {entry.compress_type}: "
            "use deflate, as zip programs do by default"
        )
