"""Unpacks an archive: looked through to the end first, then its photos written flat.

No path of the archive is ever used: a photo is written under its bare name, into one
folder. Which photos are taken is the rule of folders: those of one folder, and what
lies deeper is left out. That folder is the one which all photos have in common.

An archive that holds one other archive and no photo stands for it, as Kaggle's do.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from gzip import GzipFile
from itertools import takewhile
from pathlib import Path
from typing import IO, Final, TypeAlias, cast

from models.errors import quoted, quoted_names
from models.images.formats import START_BYTES, is_photo
from models.text import normal_name
from worker.archives.bounds import Bounds, refusal
from worker.archives.members import Member, explained_damage
from worker.archives.tar_members import tar_members
from worker.archives.zip_members import zip_members
from worker.items import Listing, order_items

_CHUNK_BYTES: Final = 1024 * 1024
_READ_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
_ARCHIVES: Final = (*_READ_ARCHIVES, ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")

Inside: TypeAlias = tuple[str, ...]
"""The folders of a file in an archive, then its name."""


def unpack_archive(
    stream: IO[bytes], folder: Path, bounds: Bounds, listed: Container[str] = ()
) -> Listing:
    """Write the photos of the archive in *stream* into the new *folder*, durably.

    *stream* can be sought and is a zip, tar or tar.gz, told by its first bytes. Files of
    the names *listed* are photos whatever they are.

    Raises:
        InvalidRequestError: it is not taken; the message names the file and the remedy.
        OSError: the disk is full or read-only; *folder* may be half full.
    """
    tight = bounds.for_archive(stream.seek(0, io.SEEK_END))
    found = _survey(stream, tight, listed)
    if found.stands_for_another:
        with tempfile.TemporaryFile(dir=folder.parent) as spooled:
            inner = cast("IO[bytes]", spooled)
            _copy_member(stream, found.archives, inner, tight)
            tighter = tight.for_archive(inner.tell())
            # Not again if that holds another: some zips hold themselves.
            return _unpack(inner, folder, tighter, _survey(inner, tighter, listed))
    return _unpack(stream, folder, tight, found)


def _unpack(stream: IO[bytes], folder: Path, tight: Bounds, found: _Survey) -> Listing:
    if found.archives:
        named = quoted_names(sorted(map("/".join, found.archives)))
        reason = (
            f"it holds archives ({named}): unpack them, then send one folder of them"
        )
        raise refusal(reason)
    taken, ignored = _choose(found.photos, found.others)
    listing = Listing(order_items(taken), ignored)
    folder.mkdir()
    wanted = set(taken.values())
    total = 0
    for member in _read_members(stream, tight):
        if member.path in wanted:
            total += _write(member, folder / member.path[-1], tight, total)
    # One flush for all: a flush for each takes many times as long.
    os.sync()
    return listing


def _read_members(stream: IO[bytes], bounds: Bounds) -> Iterator[Member]:
    stream.seek(0)
    start = stream.read(2)
    stream.seek(0)
    with explained_damage():
        if start == b"PK":
            yield from zip_members(stream, bounds)
        elif start == b"\x1f\x8b":
            with GzipFile(fileobj=stream) as unzipped:
                yield from tar_members(cast("IO[bytes]", unzipped), bounds)
        else:
            yield from tar_members(stream, bounds)


@dataclass
class _Survey:
    """The files of an archive by what they are; the system's are not among them."""

    photos: set[Inside] = field(default_factory=set)
    archives: set[Inside] = field(default_factory=set)
    others: set[Inside] = field(default_factory=set)

    @property
    def stands_for_another(self) -> bool:
        """Whether there is one archive that we read, and no photo beside it."""
        return not self.photos and [
            path[-1].lower().endswith(_READ_ARCHIVES) for path in self.archives
        ] == [True]

    def knows(self, path: Inside) -> bool:
        return any(path in known for known in (self.photos, self.archives, self.others))


def _survey(stream: IO[bytes], bounds: Bounds, listed: Container[str]) -> _Survey:
    found, total = _Survey(), 0
    for member in _read_members(stream, bounds):
        if member.is_hidden:
            continue
        if not member.path:
            raise refusal("it holds a file without a name: pack a folder of images")
        if found.knows(member.path):
            raise refusal(f"it holds {quoted(member.name)} twice: remove one")
        if _is_photo(member, listed):
            found.photos.add(member.path)
            bounds.check_file(member.name, member.size)
            total += member.size
            bounds.check_total(total)
        elif member.name.lower().endswith(_ARCHIVES):
            found.archives.add(member.path)
        else:
            found.others.add(member.path)
    return found


def _is_photo(member: Member, listed: Container[str]) -> bool:
    def read_start() -> bytes:
        with explained_damage(), member.open() as content:
            return content.read(START_BYTES)

    name = member.path[-1]
    return normal_name(name) in listed or is_photo(name, read_start)


def _copy_member(
    stream: IO[bytes], wanted: Container[Inside], target: IO[bytes], bounds: Bounds
) -> None:
    for member in _read_members(stream, bounds):
        if member.path in wanted:
            with explained_damage(), member.open() as content:
                while chunk := content.read(_CHUNK_BYTES):
                    bounds.check_total(target.tell() + len(chunk))
                    target.write(chunk)


def _choose(
    photos: set[Inside], others: set[Inside]
) -> tuple[dict[str, Inside], tuple[str, ...]]:
    if not photos:
        raise refusal("it holds no image: pack a folder of images")
    root = _common([path[:-1] for path in photos])
    taken = {path[-1]: path for path in photos if path[:-1] == root}
    if not taken:
        folders = ", ".join(sorted({path[len(root)] for path in photos})[:5])
        reason = f"its images lie in several folders ({folders}): put them into one"
        raise refusal(reason)
    left_out = others | (photos - set(taken.values()))
    return taken, tuple(sorted({_relative(path, root) for path in left_out}))


def _common(folders: Sequence[Inside]) -> Inside:
    # What the first and the last in order share, all between them share.
    pairs = zip(min(folders), max(folders), strict=False)
    return tuple(first for first, _ in takewhile(lambda pair: len({*pair}) == 1, pairs))


def _relative(path: Inside, root: Inside) -> str:
    inside = path[: len(root)] == root
    return path[len(root)] if inside else "/".join(path)


def _write(member: Member, target: Path, bounds: Bounds, before: int) -> int:
    count = 0
    with _create(target) as written, explained_damage(), member.open() as content:
        while chunk := content.read(_CHUNK_BYTES):
            count += len(chunk)
            bounds.check_file(member.name, count)
            bounds.check_total(before + count)
            written.write(chunk)
    return count


def _create(target: Path) -> IO[bytes]:
    try:
        return target.open("xb")
    except FileExistsError as error:
        reason = (
            f"it holds two files that this disk calls {quoted(target.name)}: rename one"
        )
        raise refusal(reason) from error
