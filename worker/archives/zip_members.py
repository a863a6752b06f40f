"""The files in a zip."""

from __future__ import annotations

import io
import stat
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
        # Entries that share their data, as bombs do, use this up.
        reader.allow(2 * size + _CATALOGUE_BYTES)
        for entry in entries:
            path = split_path(entry.orig_filename)
            _check(entry)
            if not entry.orig_filename.endswith("/"):
                yield Member(path, entry.file_size, partial(archive.open, entry))


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
