"""Putting one file where it belongs, such that it is there whole or not at all.

Doing it again after a crash is harmless: what is in place stays, what was moved half
way is moved to the end. The original of a moved file goes only when the whole file
stands, on the disk, at its destination.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.data.sources.archives import Archives
from export.data.sources.files import Origin
from export.data.sources.reading import read_origin
from models.errors import DatasetError, InvalidImageError
from models.files import sync_path, temporary_beside

_NO_LINKS: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES}
)


@dataclass(frozen=True)
class Step:
    """One file to place: ``transfer`` is link, copy or move; size in bytes."""

    target: Path
    origin: Origin
    transfer: str
    size: int
    sha256: str


def place(step: Step, archives: Archives) -> None:
    """Make ``step.target``; members of archives are always copied.

    Raises:
        DatasetError: the original is gone or has changed.
        OSError: the disk is full or read-only.
    """
    original = step.origin.location
    if _is_in_place(step):
        if step.transfer == "move" and not step.origin.members and original.exists():
            _remove_original(step)
        return
    if step.origin.members:
        _write(step, archives)
        return
    _check_original(step)
    if step.transfer == "move":
        _move(step)
    elif step.transfer == "link":
        _link(step)
    else:
        _copy(step)


def _is_in_place(step: Step) -> bool:
    try:
        size = step.target.lstat().st_size
    except FileNotFoundError:
        return False
    if size != step.size:
        message = f"{step.target} is in the way: remove it, or choose another folder"
        raise DatasetError(message)
    return True


def _check_original(step: Step) -> None:
    original = step.origin.location
    try:
        size = original.lstat().st_size
    except FileNotFoundError as error:
        message = (
            f"{original} is gone since it was looked at, and {step.target} is not there: "
            "put it back and run the same command again"
        )
        raise DatasetError(message) from error
    if size != step.size:
        message = (
            f"{original} has {size:,} bytes and had {step.size:,} when it was looked at: "
            "leave the source alone and use --force"
        )
        raise DatasetError(message)


def _move(step: Step) -> None:
    try:
        step.origin.location.rename(step.target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(step, durable=True)
        step.origin.location.unlink()


def _remove_original(step: Step) -> None:
    # Only a crash between copy and removal leaves both; but never trust a size alone.
    original = step.origin.location
    if not original.samefile(step.target):
        content = step.target.read_bytes()
        if hashlib.sha256(content).hexdigest() != step.sha256:
            message = f"{step.target} differs from {original}: keep one of them"
            raise DatasetError(message)
        sync_path(step.target)
    original.unlink()


def _link(step: Step) -> None:
    try:
        os.link(step.origin.location, step.target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(step)


def _copy(step: Step, *, durable: bool = False) -> None:
    temporary = temporary_beside(step.target)
    try:
        shutil.copyfile(step.origin.location, temporary, follow_symlinks=False)
        if durable:
            sync_path(temporary)
        temporary.rename(step.target)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_path(step.target.parent)


def _write(step: Step, archives: Archives) -> None:
    try:
        content = read_origin(step.origin, archives)
    except InvalidImageError as error:
        message = f"{step.origin.location}: {error}; was it replaced meanwhile?"
        raise DatasetError(message) from error
    if hashlib.sha256(content).hexdigest() != step.sha256:
        message = f"{step.origin.location} has changed since it was looked at: --force"
        raise DatasetError(message)
    temporary = temporary_beside(step.target)
    try:
        temporary.write_bytes(content)
        temporary.rename(step.target)
    finally:
        temporary.unlink(missing_ok=True)
