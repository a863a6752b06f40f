"""Makes a backup while jobs run: a new folder each time, unchanged files as hard links.

A file counts as unchanged if its time, size and inode are those of its last copy: what
we write is replaced by renames, so a changed file has another inode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from kennel.backup.copying import copy_file, is_plain, link_file
from kennel.backup.listing import FILES, Entry, Head, write_head
from kennel.backup.shelf import Shelf
from kennel.backup.units import Unit, find_units
from models.errors import ConflictError, InvalidRequestError
from models.storage import explained_full_disk, fingerprint_file, sync_path
from models.version import VERSION
from worker.run import now

ATTEMPTS: Final = 5
"""So often it is begun anew because something was deleted that was half copied."""


@dataclass
class Tally:
    """What a backup has, and how much of it had to be copied (sizes in bytes).

    Attributes:
        skipped: links, pipes and the like, which are not backed up.
    """

    files: int = 0
    size: int = 0
    copied_files: int = 0
    copied_size: int = 0
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Backup:
    """A backup that was made."""

    folder: Path
    tally: Tally


class _VanishedError(Exception):
    """A unit was deleted while it was copied."""


def make_backup(
    target: Path, roots: Mapping[str, Path], *, full: bool = False
) -> Backup:
    """Put a new backup of *roots* (``models``, ``runs``) into *target*.

    It appears complete or not at all; what a killed one copied is used again. If *full*,
    every file is read and copied, whatever earlier backups have.

    Raises:
        InvalidRequestError: *target* cannot hold it.
        ConflictError: another backup is being made there, or too much is deleted now.
        StorageFullError: the disk of *target* is full; what is copied stays for the
            next attempt.
        OSError: something cannot be read or written.
    """
    _check_apart(target, roots)
    shelf = Shelf(target)
    with explained_full_disk("the backups"), shelf.held():
        for _ in range(ATTEMPTS):
            # Drafts are left where they are: the next one links what they have.
            draft = _Draft(shelf.new_draft(), {} if full else shelf.copied())
            try:
                draft.take(roots)
            except _VanishedError:
                continue
            return Backup(shelf.publish(draft.folder), draft.tally)
    message = f"jobs or versions were deleted during each of {ATTEMPTS} attempts"
    raise ConflictError(f"{message}: try again when fewer are deleted")


class _Draft:
    def __init__(self, folder: Path, copied: Mapping[str, tuple[Path, Entry]]) -> None:
        self.folder = folder
        self.tally = Tally()
        self._copied = copied

    def take(self, roots: Mapping[str, Path]) -> None:
        with (self.folder / FILES).open("x", encoding="utf-8") as listing:
            for unit in find_units(roots):
                before = _identity(unit.folder)
                if before is not None:
                    self._take_unit(unit, listing)
                    if _identity(unit.folder) != before:
                        raise _VanishedError
        sync_path(self.folder / FILES)
        for folder in self._folders():
            sync_path(folder)
        tally = self.tally
        write_head(self.folder, Head(now(), VERSION, tally.files, tally.size))

    def _take_unit(self, unit: Unit, listing: TextIO) -> None:
        for path, source in unit.contents():
            if path.endswith("/"):
                (self.folder / path).mkdir(exist_ok=True)
                listing.write(Entry(path).line())
            elif entry := self._take_file(path, source):
                listing.write(entry.line())
                # So that a killed backup is known to have it.
                listing.flush()

    def _take_file(self, path: str, source: Path) -> Entry | None:
        seen = fingerprint_file(source)
        try:
            if not is_plain(source):
                self.tally.skipped.append(path)
                return None
            entry = self._linked(path, seen) or self._copy(path, source, seen)
        except FileNotFoundError:
            if source.exists():
                raise
            return None  # replaced or deleted since it was listed
        self.tally.files += 1
        self.tally.size += entry.size
        return entry

    def _linked(self, path: str, seen: tuple[int, int, int] | None) -> Entry | None:
        kept, entry = self._copied.get(path, (None, None))
        if kept is None or entry is None or entry.seen != seen or seen is None:
            return None
        return entry if link_file(kept, self.folder / path) else None

    def _copy(
        self, path: str, source: Path, seen: tuple[int, int, int] | None
    ) -> Entry:
        size, digest = copy_file(source, self.folder / path)
        self.tally.copied_files += 1
        self.tally.copied_size += size
        return Entry(path, size, digest, seen)

    def _folders(self) -> Iterator[Path]:
        yield self.folder
        yield from (each for each in self.folder.rglob("*") if each.is_dir())


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _check_apart(target: Path, roots: Mapping[str, Path]) -> None:
    for root in roots.values():
        if target.resolve().is_relative_to(root.resolve()):
            message = f"{target} lies in {root}, which is to be backed up"
            raise InvalidRequestError(f"{message}: name a folder on another disk")
