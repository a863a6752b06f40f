"""A backup that is being filled: from the sources, or with links to earlier copies.

A file counts as unchanged if its time, size and inode are those of its last copy: what
we write is replaced by renames, so a changed file has another inode.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from kennel.backup.copying import copy_file, is_plain, link_file
from kennel.backup.listing import FILES, Entry, Head, Seen, write_head
from kennel.backup.shelf import Copy
from kennel.backup.units import Unit, find_units, nothing_there
from models import VERSION
from models.files import fingerprint_file, hash_file
from worker.run_folder import now


class VanishedError(Exception):
    """A unit was deleted while it was copied."""


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


class Draft:
    """The folder of a backup to be."""

    def __init__(self, folder: Path, copies: Mapping[str, Copy]) -> None:
        """Fill *folder*; *copies* are, by path, those that were made before."""
        self.folder = folder
        self.tally = Tally()
        self._copies = copies

    def take(self, roots: Mapping[str, Path], *, smaller_than: str = "") -> None:
        """Put all of *roots* into it, and close it; *smaller_than* goes into its head.

        Raises:
            VanishedError: something was deleted meanwhile; begin anew.
            InvalidRequestError: there was no file in *roots*.
            OSError: something cannot be read or written.
        """
        with (self.folder / FILES).open("x", encoding="utf-8") as listing:
            for unit in find_units(roots):
                before = _identity(unit.folder)
                if before is not None:
                    self._take_unit(unit, listing)
                    if _identity(unit.folder) != before:
                        raise VanishedError
        tally = self.tally
        if not tally.files:
            raise nothing_there(roots)
        os.sync()
        head = Head(now(), VERSION, tally.files, tally.size, smaller_than)
        write_head(self.folder, head)

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

    def _linked(self, path: str, seen: Seen | None) -> Entry | None:
        copy = self._copies.get(path)
        if copy is None or seen is None or copy.entry.seen != seen:
            return None
        return copy.entry if self._link(copy, self.folder / path) else None

    def _link(self, copy: Copy, target: Path) -> bool:
        if not link_file(copy.file, target):
            return False
        # A power loss may have taken what nobody flushed.
        if copy.is_durable or hash_file(target) == copy.entry.sha256:
            return True
        target.unlink()
        return False

    def _copy(self, path: str, source: Path, seen: Seen | None) -> Entry:
        size, digest = copy_file(source, self.folder / path)
        self.tally.copied_files += 1
        self.tally.copied_size += size
        return Entry(path, size, digest, seen)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
