"""Makes a backup while jobs run: a new folder each time, complete or not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.backup.draft import Draft, Tally, VanishedError
from kennel.backup.shelf import Shelf
from models.errors import ConflictError, InvalidRequestError
from models.storage import explained_full_disk

ATTEMPTS: Final = 5
"""So often it is begun anew because something was deleted that was half copied."""


@dataclass(frozen=True)
class Backup:
    """A backup that was made."""

    folder: Path
    tally: Tally


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
            draft = Draft(shelf.new_draft(), {} if full else shelf.copies())
            try:
                draft.take(roots)
            except VanishedError:
                continue
            return Backup(shelf.publish(draft.folder), draft.tally)
    message = f"jobs or versions were deleted during each of {ATTEMPTS} attempts"
    raise ConflictError(f"{message}: try again when fewer are deleted")


def _check_apart(target: Path, roots: Mapping[str, Path]) -> None:
    for root in roots.values():
        if target.resolve().is_relative_to(root.resolve()):
            message = f"{target} lies in {root}, which is to be backed up"
            raise InvalidRequestError(f"{message}: name a folder on another disk")
