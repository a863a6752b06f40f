"""The files in a tar, plain or compressed.

The parser takes a broken header, and one block of zeros, for the end. So the whole end
mark is looked for, and after it there must be nothing: else files would be lost unseen.
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
_END_BYTES: Final = 2 * BLOCKSIZE
_PADDING_BYTES: Final = 1024 * 1024
"""Programs fill the last record with zeros, usually of 10 KiB. More of them are rather
the end of a file of which not all has come."""


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
    reader.allow(_CHUNK_BYTES)
    if reader.read(_END_BYTES) != bytes(_END_BYTES):
        raise refusal("it is cut off or damaged: send the whole file again")
    padding = 0
    # To the very end, where a compressed one has its checksum.
    while chunk := reader.read(_CHUNK_BYTES // 2):
        if chunk.strip(b"\0"):
            raise refusal(
                "more follows after its end mark: it is damaged, or several in one "
                "file; pack its files again, or send the whole file again"
            )
        padding += len(chunk)
        if padding > _PADDING_BYTES:
            raise refusal("it ends in zeros only: it is damaged, send it again")
        reader.allow(_CHUNK_BYTES)
    if not reader.is_at_end():
        raise refusal("it is damaged: more follows after its end mark")
