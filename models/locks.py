"""Locks on files and folders; the kernel drops those of a killed process.

A folder's lock belongs to the folder and not to its name: whoever has waited for it looks
whether the folder is still there, or another one took its place.

Who does not want to wait says what is raised instead: *busy*.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ConflictError


@contextmanager
def locked_file(path: Path, *, busy: ConflictError | None = None) -> Iterator[None]:
    """Hold the file at *path* alone; it is made if there is none, and never changed.

    Raises:
        ConflictError: *busy*; somebody holds it.
    """
    with path.open("a") as stream:
        _lock(stream.fileno(), fcntl.LOCK_EX, busy)
        yield


@contextmanager
def exclusive(folder: Path, *, busy: ConflictError | None = None) -> Iterator[None]:
    """Hold *folder* alone.

    Raises:
        FileNotFoundError: it is gone.
        ConflictError: *busy*; somebody holds it.
    """
    with _held(folder, fcntl.LOCK_EX, busy):
        yield


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Hold *folder* together with others, but with nobody who wants it alone.

    Raises:
        FileNotFoundError: it is gone.
    """
    with _held(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def _held(folder: Path, how: int, busy: ConflictError | None = None) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, how, busy)
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int, busy: ConflictError | None) -> None:
    if busy is None:
        fcntl.flock(descriptor, how)
        return
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise busy from error
