"""Runs that are still being made: locked by their maker, seen by nobody, never left behind.

The kernel drops the lock of a killed process, so whoever gets the lock of a draft knows
that its maker is gone, however long an upload takes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.files import TEMPORARY_PREFIX, sync_path, temporary_beside
from worker.manifest import ManifestFiles
from worker.removal import remove_until

PARTS: Final = ("shards", "attempts")
"""The folders that every run has."""

REMOVAL_SECONDS: Final = 0.5
"""How long one look may remove: lost work waits for the next one."""


@contextmanager
def drafted_run(runs_dir: Path, job_id: str) -> Iterator[Path]:
    """A new run directory without a manifest; gone after the block unless published.

    Raises:
        OSError: the disk is full or read-only; nothing is left behind.
    """
    runs_dir.mkdir(parents=True, exist_ok=True)
    draft = temporary_beside(runs_dir / job_id)
    lock = _make_locked(draft)
    try:
        for name in PARTS:
            (draft / name).mkdir()
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def publish_draft(draft: Path, job_id: str, manifest: ManifestFiles) -> Path:
    """Make *draft* the run of that id at once; the one that is there if there is one.

    Raises:
        OSError: the disk is full or read-only; the draft stays one.
    """
    folder = draft.with_name(job_id)
    manifest.write(draft)
    try:
        draft.rename(folder)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
    sync_path(folder.parent)
    return folder


def remove_abandoned(runs_dir: Path, seconds: float = REMOVAL_SECONDS) -> None:
    """Remove the drafts whose maker was killed, and what was deleted.

    Stops after that many *seconds*; the next call goes on.
    """
    deadline = time.monotonic() + seconds
    for draft in runs_dir.glob(f"{TEMPORARY_PREFIX}*"):
        try:
            lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_until(draft, deadline)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def _make_locked(draft: Path) -> int:
    # Until it is locked, it may be taken for abandoned and removed: then once more.
    while True:
        draft.mkdir()
        try:
            lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if draft.exists():
            return lock
        os.close(lock)
