"""The folder that a deployment's backups lie in: one folder each, named by its moment.

They share unchanged files as hard links, so that any of them can be removed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kennel.backup.listing import FILES, HEAD, Entry, read_copied, read_head
from models.errors import ConflictError, InvalidRequestError, NotFoundError
from models.files import TEMPORARY_PREFIX, locked_folder, sync_path, temporary_beside

_NAME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z")
_DRAFT: Final = TEMPORARY_PREFIX
_NAMED: Final = 3
_FOREIGN: Final = frozenset({"lost+found"})
"""At the root of a disk of its own."""


@dataclass(frozen=True)
class Copy:
    """A file that was copied before.

    Attributes:
        is_durable: it was on the disk before its backup got its name.
    """

    file: Path
    entry: Entry
    is_durable: bool


class Shelf:
    """The backups in one folder, held by one writer at a time."""

    def __init__(self, folder: Path) -> None:
        """Look at *folder*, which need not be there."""
        self.folder = folder

    def backups(self) -> list[Path]:
        """The complete backups, newest first."""
        found = [each for each in self._names() if _NAME.fullmatch(each.name)]
        return sorted((each for each in found if (each / HEAD).exists()), reverse=True)

    def sound(self) -> list[Path]:
        """The complete backups that are neither empty nor suspiciously small."""
        return [each for each in self.backups() if _is_sound(each)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes here while the block runs.

        Raises:
            InvalidRequestError: it is no folder, or other things lie in it.
            ConflictError: another backup is being made.
            OSError: it cannot be made.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InvalidRequestError(f"{self.folder} is not a folder: name one")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_own()
        message = f"another backup is being made in {self.folder}: wait for its end"
        with locked_folder(self.folder, busy=ConflictError(message)):
            yield

    def new_draft(self) -> Path:
        """An empty folder that will be a backup."""
        draft = temporary_beside(self.folder / _moment())
        draft.mkdir()
        return draft

    def publish(self, draft: Path) -> Path:
        """Give the complete *draft* its name, and remove what killed backups left."""
        named = draft.rename(self.folder / _moment())
        sync_path(self.folder)
        self.remove(self.drafts())
        return named

    def drafts(self) -> list[Path]:
        """What killed backups left."""
        return [each for each in self._names() if each.name.startswith(_DRAFT)]

    def copies(self) -> dict[str, Copy]:
        """By path, the files of drafts and of the newest backup, which wins.

        What a suspiciously small one lacks is taken from the newest sound one.
        """
        complete = [*self.sound()[:1], *self.backups()[:1]]
        return {
            entry.path: Copy(folder / entry.path, entry, folder in complete)
            for folder in (*self.drafts(), *complete)
            for entry in read_copied(folder)
        }

    def keep_newest(self, count: int) -> list[str]:
        """Remove what is older than the newest *count* sound backups; its names.

        Empty and suspiciously small ones do not count: they push no good one out.
        """
        kept = self.sound()[:count]
        if len(kept) < count:
            return []
        going = [each for each in self.backups() if each.name < kept[-1].name]
        for each in going:
            # First the name: half a backup must not look like one.
            each.rename(temporary_beside(each))
        self.remove(self.drafts())
        return [each.name for each in going]

    def remove(self, folders: list[Path]) -> None:
        """Remove *folders*; what cannot be removed stays for the next time."""
        for each in folders:
            shutil.rmtree(each, ignore_errors=True)

    def _check_own(self) -> None:
        others = [
            each.name
            for each in self._names()
            if not (_NAME.fullmatch(each.name) or each.name.startswith(_DRAFT))
        ]
        if others:
            named = ", ".join(sorted(others)[:_NAMED])
            message = f"{self.folder} holds other things ({named}): name a folder for "
            raise InvalidRequestError(f"{message}backups alone")

    def _names(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [each for each in self.folder.iterdir() if each.name not in _FOREIGN]


def find_backup(place: Path) -> Path:
    """The backup that *place* is, or the newest of those in it.

    Raises:
        NotFoundError: there is none.
    """
    if (place / HEAD).exists():
        return place
    if (place / FILES).exists():
        message = f"{place} is an unfinished backup: kennel backup {place.parent}"
        raise NotFoundError(f"{message} goes on from it; {HEAD} is written last")
    backups = Shelf(place).backups()
    if not backups:
        message = f"there is no complete backup in {place}: kennel backup {place}"
        raise NotFoundError(message)
    return backups[0]


def find_sound_backup(place: Path) -> Path:
    """The backup that *place* is, or the newest of those in it if that is sound.

    Raises:
        NotFoundError: there is none.
        ConflictError: the newest is empty or suspiciously small.
        InvalidRequestError: the newest cannot be read.
    """
    found = find_backup(place)
    if found == place or read_head(found).is_sound:
        return found
    message = (
        f"the newest backup, {found}, has far less than those before it, or nothing"
    )
    last = next(iter(Shelf(place).sound()), found)
    raise ConflictError(f"{message}: name the one to restore, such as {last}")


def _is_sound(backup: Path) -> bool:
    try:
        return read_head(backup).is_sound
    except InvalidRequestError:
        return False


def _moment() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
