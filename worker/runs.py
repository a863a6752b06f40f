"""All runs of a RUNS_DIR, found by id."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from models.errors import KennelError, NotFoundError
from worker.manifest import peek_created, peek_owner
from worker.run import Run
from worker.run_folder import no_such_job

_JOB_ID: Final = re.compile("[A-Za-z0-9_-]{1,64}")


def find_run(runs_dir: Path, job_id: str, owner: str | None = None) -> Run:
    """The run of that id; with *owner*, only if it is theirs.

    Raises:
        NotFoundError: there is none (code "job_not_found").
        OSError: *runs_dir* cannot be read, so nobody knows.
    """
    if not _JOB_ID.fullmatch(job_id) or not _has_manifest(runs_dir / job_id):
        _is_there(runs_dir)
        raise no_such_job(job_id)
    if owner is not None and not _belongs(f"{runs_dir}/{job_id}/manifest.json", owner):
        raise no_such_job(job_id)
    return Run(runs_dir / job_id)


def all_runs(runs_dir: Path) -> list[Run]:
    """Every run in *runs_dir*, in no particular order; other folders are skipped.

    Raises:
        OSError: *runs_dir* cannot be read.
    """
    folders = (runs_dir / name for name in _possible_ids(runs_dir))
    return [Run(folder) for folder in folders if _is_run(folder)]


def find_unfinished(runs_dir: Path, job_id: str) -> Run | None:
    """The run of that id; None if there is none or it is over."""
    try:
        run = find_run(runs_dir, job_id)
    except NotFoundError:
        return None
    return None if run.is_over else run


def newest_first(
    runs_dir: Path, owner: str | None = None, prefix: str | None = None
) -> list[str]:
    """The ids of all runs whose manifest can be read, by the moment of their submit.

    With *owner*, only theirs; with *prefix*, only ids that begin with it.

    Raises:
        OSError: *runs_dir* cannot be read.
    """
    moments = []
    for name in _possible_ids(runs_dir):
        if not name.startswith(prefix or ""):
            continue
        manifest = f"{runs_dir}/{name}/manifest.json"
        if owner is not None and not _belongs(manifest, owner):
            continue
        # Not there: another folder, or a run that is deleted at this moment.
        with suppress(OSError, NotFoundError):
            moments.append((_created(manifest, os.stat(manifest).st_mtime_ns), name))  # noqa: PTH116
    return [name for _, name in sorted(moments, reverse=True)]


@contextmanager
def found_run(runs_dir: Path, job_id: str, owner: str | None = None) -> Iterator[Run]:
    """The run of that id; whatever the block makes of it counts only if it stays there.

    Raises:
        NotFoundError: there is none, or it was deleted meanwhile.
        OSError: its files cannot be read now.
    """
    run = find_run(runs_dir, job_id, owner)
    try:
        yield run
    except (OSError, KennelError) as error:
        if run.is_gone:
            raise no_such_job(job_id) from error
        raise
    if run.is_gone:
        raise no_such_job(job_id)


@lru_cache(maxsize=16_384)
def _created(manifest: str, _mtime_ns: int) -> str:
    return peek_created(Path(manifest))


def _possible_ids(runs_dir: Path) -> list[str]:
    if not _is_there(runs_dir):
        return []
    return [name for name in os.listdir(runs_dir) if _JOB_ID.fullmatch(name)]  # noqa: PTH208


def _is_there(runs_dir: Path) -> bool:
    # Before the first job it is not. The dot makes a file, a link that leads nowhere
    # and a folder that may not be searched errors, which would look like no jobs.
    try:
        os.stat(f"{runs_dir}/.")  # noqa: PTH116
    except FileNotFoundError:
        return False
    return True


def _belongs(manifest: str, owner: str) -> bool:
    try:
        return _owner(manifest, os.stat(manifest).st_mtime_ns) == owner  # noqa: PTH116
    except (OSError, NotFoundError):
        # Deleted at this moment, or damaged: nobody's.
        return False


@lru_cache(maxsize=16_384)
def _owner(manifest: str, _mtime_ns: int) -> str | None:
    return peek_owner(Path(manifest))


def _is_run(folder: Path) -> bool:
    try:
        return _has_manifest(folder)
    except OSError:
        # Nobody's run: a folder that may not be looked into.
        return False


def _has_manifest(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()
