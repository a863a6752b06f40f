"""The files in a tar, plain or compressed.

The parser takes a broken header for the end, so the end's own mark is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from tarfile import BLOCKSIZE, TarFile, TarInfo
from typing import IO, Final, cast

from models.errors import quoted
from worker.archives.bounds import BoundedReader, Bounds, refusal
from worker.archives.members import Member, split_path

_HEADER_BYTES: Final = 256 * 1024
"""One entry's headers: long names and extended attributes."""

_ENTRY_BYTES: Final = 4096
"""What an entry takes beside its content, for the bound on the whole."""

_CHUNK_BYTES: Final = 64 * 1024


def tar_members(stream: IO[bytes], bounds: Bounds) -> Iterator[Member]:
    """The files of a tar.

    Raises:
        InvalidRequestError: an entry that is not taken, too many, or cut off.
        Exception: what the parser raises for a damaged tar.
    """
    reader = BoundedReader(stream, bounds.total_bytes + _ENTRY_BYTES * bounds.files)
    reader.allow(_HEADER_BYTES)
    archive = TarFile(fileobj=cast("IO[bytes]", reader), encoding="utf-8")
    count = 0
    while entry := archive.next():
        count += 1
        bounds.check_count(count)
        path = split_path(entry.name)
        _check(entry)
        if not entry.isdir():
            yield Member(path, entry.size, _opener(archive, entry, reader))
        # The parser keeps each entry; 200,000 of them would be hundreds of megabytes.
        archive.members = []  # type: ignore[attr-defined]
        reader.allow(_HEADER_BYTES)
    _check_end(archive, reader)


def _opener(
    archive: TarFile, entry: TarInfo, reader: BoundedReader
) -> Callable[[], IO[bytes]]:
    def open_entry() -> IO[bytes]:
        reader.allow(entry.size + BLOCKSIZE)
        return cast("IO[bytes]", archive.extractfile(entry))

    return open_entry


def _check(entry: TarInfo) -> None:
    if entry.isdir() or (entry.isreg() and not entry.issparse()):
        return
    raise refusal(
        f"{quoted(entry.name)} is a link or special file: pack plain files only"
    )


def _check_end(archive: TarFile, reader: BoundedReader) -> None:
    reader.seek(archive.offset)
    if reader.read(BLOCKSIZE) != bytes(BLOCKSIZE):
        raise refusal("it is cut off or damaged: send the whole file again")
    # To the very end, where a compressed one has its checksum.
    reader.allow(_CHUNK_BYTES)
    while reader.read(_CHUNK_BYTES):
        reader.allow(_CHUNK_BYTES)
