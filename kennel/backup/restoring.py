"""Puts a backup back: checked on the way, beside what is there, in place at once.

Everything is copied and its sha256 compared before the first rename; a restore that is
killed before leaves the home as it was, and one that is killed between the renames is
done again with *replace*.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from kennel.backup.checking import DamagedBackupError
from kennel.backup.copying import copy_file
from kennel.backup.destination import check_empty, check_room, check_worth, visible
from kennel.backup.listing import Entry, Head, read_head, read_listing
from models.errors import ConflictError
from models.files import (
    TEMPORARY_PREFIX,
    explained_full_disk,
    locked_file,
    locked_folder,
    sync_path,
    temporary_beside,
)
from worker.reconciler import LOCK_NAME


def restore_backup(
    backup: Path, roots: Mapping[str, Path], *, replace: bool = False
) -> Head:
    """Put the *backup* into the folders *roots* (``models``, ``runs``, or one of them).

    With *replace*, what is in them is removed once the backup has been read whole.

    Raises:
        InvalidRequestError: it is no complete backup, or has no files.
        ConflictError: something is there and *replace* is false, or the backup has
            nothing to replace it with, or a reconciler works.
        DamagedBackupError: a file is not what was written; nothing was changed.
        StorageFullError: there is no room; nothing was changed.
        OSError: a folder cannot be written.
    """
    head, entries = read_head(backup), read_listing(backup)
    check_worth(backup, entries, roots, replace=replace)
    if not replace:
        check_empty(roots)
    check_room(entries, roots)
    with explained_full_disk("the restored files"), ExitStack() as held:
        staged = {each: held.enter_context(_stage(roots[each])) for each in roots}
        _copy(backup, entries, staged)
        if "runs" in roots:
            held.enter_context(_without_reconciler(roots["runs"]))
        for name in roots:
            _take_place(staged[name], roots[name])
    return head


@contextmanager
def _stage(root: Path) -> Iterator[Path]:
    root.mkdir(parents=True, exist_ok=True)
    for dead in root.glob(f"{TEMPORARY_PREFIX}restore-*"):
        shutil.rmtree(dead, ignore_errors=True)
    folder = temporary_beside(root / "restore")
    folder.mkdir()
    try:
        # Locked, or a reconciler would take it for an abandoned run.
        with locked_folder(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(backup: Path, listed: list[Entry], staged: Mapping[str, Path]) -> None:
    entries = [each for each in listed if each.path.partition("/")[0] in staged]
    for entry in entries:
        name, _, path = entry.path.partition("/")
        target = staged[name] / path
        if entry.is_folder:
            target.mkdir(exist_ok=True)
            continue
        try:
            copied = copy_file(backup / entry.path, target)
        except FileNotFoundError as error:
            raise _damaged(backup, entry) from error
        if copied != (entry.size, entry.sha256):
            raise _damaged(backup, entry)
    os.sync()


def _damaged(backup: Path, entry: Entry) -> DamagedBackupError:
    message = f"{backup / entry.path} is not what was backed up; nothing was restored"
    return DamagedBackupError(f"{message}: use an older backup")


def _without_reconciler(runs_dir: Path) -> AbstractContextManager[None]:
    path = runs_dir / LOCK_NAME
    if not path.exists():
        path.touch()
        # Its time says when a reconciler looked last: none ever did.
        os.utime(path, (0, 0))
    message = f"a reconciler works on {runs_dir}: stop the stack first"
    return locked_file(path, busy=ConflictError(message))


def _take_place(staged: Path, root: Path) -> None:
    removed = staged / f"{TEMPORARY_PREFIX}replaced"
    removed.mkdir()
    for old in visible(root):
        old.rename(removed / old.name)
    for new in visible(staged):
        new.rename(root / new.name)
    sync_path(root)
