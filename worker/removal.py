"""Removes a folder bit by bit: with a million photos it takes longer than one may wait."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path


def remove_until(folder: Path, deadline: float) -> bool:
    """Remove *folder* and all that is in it, until *deadline* on the monotonic clock.

    Returns whether nothing is left. What cannot be removed stays, and the rest goes.
    """
    gone = True
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if time.monotonic() > deadline:
                return False
            gone = _remove(entry, deadline) and gone
    try:
        folder.rmdir()
    except FileNotFoundError:
        return gone
    except OSError:
        return False
    return True


def _remove(entry: os.DirEntry[str], deadline: float) -> bool:
    # Links are removed, never followed.
    if entry.is_dir(follow_symlinks=False):
        return remove_until(Path(entry.path), deadline)
    try:
        Path(entry.path).unlink()
    except OSError:
        return False
    return True
