"""Locks on files and folders; the kernel drops those of a killed process.

A folder's lock belongs to the folder and not to its name: whoever has waited for it looks
whether the folder is still there, or another one took its place.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked_file(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the file at *path* alone; it is made if there is none, and never changed.

    Raises:
        BlockingIOError: somebody holds it, and this should not *wait*.
    """
    with path.open("a") as stream:
        fcntl.flock(stream, _exclusively(wait))
        yield


@contextmanager
def exclusive(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold *folder* alone.

    Raises:
        FileNotFoundError: it is gone.
        BlockingIOError: somebody holds it, and this should not *wait*.
    """
    with _held(folder, _exclusively(wait)):
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
def _held(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        yield
    finally:
        os.close(descriptor)


def _exclusively(wait: bool) -> int:
    return fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
