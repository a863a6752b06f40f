"""The folders that a backup is put back into: empty, and with room."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kennel.backup.listing import Entry, total_size
from models.errors import ConflictError, InvalidRequestError, StorageFullError
from worker.disk import disk_free_bytes

_MEBIBYTE: Final = 1024 * 1024
_NAMED: Final = 3


def check_empty(roots: Mapping[str, Path]) -> None:
    """See that nothing lies in *roots*.

    Raises:
        ConflictError: something does; the message names it.
    """
    for root in roots.values():
        there = sorted(each.name for each in visible(root))
        if there:
            named = ", ".join(there[:_NAMED])
            message = f"{root} is not empty ({named}): restore into another KENNEL_HOME"
            raise ConflictError(f"{message}, or replace what is there with --force")


def check_worth(
    backup: Path, entries: list[Entry], roots: Mapping[str, Path], *, replace: bool
) -> None:
    """See that *backup* has files for *roots*, or at least for those that have some.

    Raises:
        InvalidRequestError: it has none at all.
        ConflictError: with *replace*, something would be replaced by nothing.
    """
    having = {e.path.partition("/")[0] for e in entries if not e.is_folder}
    if not having.intersection(roots):
        message = f"{backup} has no files for {' and '.join(roots)}"
        raise InvalidRequestError(f"{message}: name another backup")
    for name, root in roots.items():
        if replace and name not in having and visible(root):
            (other,) = having.intersection(roots)
            message = f"{backup} has no files for {root}, which is not empty"
            raise ConflictError(
                f"{message}: name another backup, or leave it as it is with "
                f"--only {other}"
            )


def check_room(entries: list[Entry], roots: Mapping[str, Path]) -> None:
    """See that the disks of *roots* have room for the *entries*.

    Raises:
        StorageFullError: one has not.
    """
    for name, root in roots.items():
        need = total_size(each for each in entries if each.path.startswith(f"{name}/"))
        free = disk_free_bytes(root)
        if need > free:
            raise StorageFullError(
                f"the disk that holds {root} has {free // _MEBIBYTE} MiB free, and "
                f"{need // _MEBIBYTE} MiB are to be restored: make room"
            )


def visible(folder: Path) -> list[Path]:
    """What lies in *folder* but for locks and for what is not finished."""
    if not folder.is_dir():
        return []
    return [each for each in folder.iterdir() if not each.name.startswith(".")]
