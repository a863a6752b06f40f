"""Reads a backup again and compares it with its own list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kennel.backup.listing import Entry, read_listing
from models.errors import KennelError
from models.files import hash_file


class DamagedBackupError(KennelError):
    """A file of a backup is gone or has changed."""

    code = "damaged_backup"


def find_damage(backup: Path) -> Iterator[str]:
    """A sentence for each file of *backup* that is not as it was written.

    Raises:
        InvalidRequestError: it is no complete backup, or its list was damaged.
        DamagedBackupError: it has no files, so that nothing can be restored from it.
    """
    entries = read_listing(backup)
    if all(entry.is_folder for entry in entries):
        message = f"{backup} has no files: nothing can be restored from it"
        raise DamagedBackupError(f"{message}; see what kennel backup is made of")
    for entry in entries:
        problem = _problem(backup / entry.path, entry)
        if problem:
            yield f"{entry.path} {problem}"


def _problem(path: Path, entry: Entry) -> str:
    try:
        if entry.is_folder:
            return "" if path.is_dir() else "is gone"
        if path.stat().st_size != entry.size:
            return f"has {path.stat().st_size} bytes, not {entry.size}"
        return "" if hash_file(path) == entry.sha256 else "has another sha256"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
