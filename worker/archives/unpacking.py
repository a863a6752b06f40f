"""Unpacks an archive: looked through to the end first, then its photos written flat.

No path of the archive is ever used: a photo is written under its bare name, into one
folder. Which photos are taken is the rule of folders: those of one folder, and what
lies deeper is left out. That folder is the one which all photos have in common.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from gzip import GzipFile
from itertools import takewhile
from pathlib import Path
from typing import IO, Final, cast

from models.errors import quoted
from worker.archives.bounds import Bounds, refusal
from worker.archives.members import Member, explained_damage
from worker.archives.tar_members import tar_members
from worker.archives.zip_members import zip_members
from worker.items import Listing, is_sidecar, order_items

_CHUNK_BYTES: Final = 1024 * 1024
_ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


def unpack_archive(stream: IO[bytes], folder: Path, bounds: Bounds) -> Listing:
    """Write the photos of the archive in *stream* into the new *folder*, durably.

    *stream* can be sought and is a zip, tar or tar.gz, told by its first bytes.

    Raises:
        InvalidRequestError: it is not taken; the message names the file and the remedy.
        OSError: the disk is full or read-only; *folder* may be half full.
    """
    tight = bounds.for_archive(stream.seek(0, io.SEEK_END))
    paths = _survey(stream, tight)
    taken, ignored = _choose(paths)
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


def _survey(stream: IO[bytes], bounds: Bounds) -> set[tuple[str, ...]]:
    paths: set[tuple[str, ...]] = set()
    total = 0
    for member in _read_members(stream, bounds):
        if member.is_hidden:
            continue
        _check_name(member, paths)
        paths.add(member.path)
        if not is_sidecar(member.path[-1]):
            bounds.check_file(member.name, member.size)
            total += member.size
            bounds.check_total(total)
    return paths


def _check_name(member: Member, known: set[tuple[str, ...]]) -> None:
    if not member.path:
        raise refusal("it holds a file without a name: pack a folder of images")
    if member.path in known:
        raise refusal(f"it holds {quoted(member.name)} twice: remove one")
    if member.name.lower().endswith(_ARCHIVES):
        reason = f"{quoted(member.name)} is an archive itself: unpack that one first"
        raise refusal(reason)


def _choose(
    paths: set[tuple[str, ...]],
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    photos = [path for path in paths if not is_sidecar(path[-1])]
    if not photos:
        raise refusal("it holds no image: pack a folder of images")
    root = _common([path[:-1] for path in photos])
    taken = {path[-1]: path for path in photos if path[:-1] == root}
    if not taken:
        folders = ", ".join(sorted({path[len(root)] for path in photos})[:5])
        reason = f"its images lie in several folders ({folders}): put them into one"
        raise refusal(reason)
    left_out = paths - set(taken.values())
    return taken, tuple(sorted({_relative(path, root) for path in left_out}))


def _common(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    # What the first and the last in order share, all between them share.
    pairs = zip(min(folders), max(folders), strict=False)
    return tuple(first for first, _ in takewhile(lambda pair: len({*pair}) == 1, pairs))


def _relative(path: tuple[str, ...], root: tuple[str, ...]) -> str:
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
