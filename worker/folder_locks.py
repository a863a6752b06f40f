"""Locks on folders; the kernel drops those of a killed process.

A lock belongs to the folder and not to its name: whoever has waited for it looks whether
the folder is still there, or another one took its place.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold *folder* alone.

    Raises:
        FileNotFoundError: it is gone.
        BlockingIOError: somebody holds it, and this should not *wait*.
    """
    with _held(folder, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
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
