"""Room on the disk of the runs: asked for before a job is taken in, waited for after.

A job that was taken in is not lost to a disk that is full, read-only or gives errors: its
work waits, and does what it did once more when the disk is as it was.
"""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

from models.errors import ConflictError, StorageFullError, StorageUnavailableError
from worker.disk_figures import read_disk
from worker.patience import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from worker.run import Run

DISK_WAIT_SECONDS: Final = 300.0
"""With the longest wait for a model and a shard's work below the time limit of a job."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PASSING: Final = frozenset(
    {
        *(errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY),
        *(errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    }
)
"""A disk or mount that is away for a moment, or too many files open at once."""

_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_PROBE_BYTES: Final = 64 * 1024
"""More than the artefact of a shard with ten classes takes."""

SHARD_DESCRIPTORS: Final = 32
"""More files and connections than a shard has open at once."""

_MEBIBYTE: Final = 1024 * 1024

_Done = TypeVar("_Done")

_log = logging.getLogger("kennel.worker")


def disk_free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the disk of *folder*, which need not exist.

    Raises:
        OSError: the disk cannot be asked.
    """
    return read_disk(folder, 0).free


def check_room(runs_dir: Path, min_free_bytes: int, coming_bytes: int = 0) -> None:
    """See that *min_free_bytes* are free, also when *coming_bytes* have been written.

    Raises:
        StorageFullError: they are not; the message says how many are.
        StorageUnavailableError: the folder cannot be read and written.
    """
    try:
        free = disk_free_bytes(runs_dir)
        _check_access(runs_dir)
    except OSError as error:
        message = (
            f"RUNS_DIR cannot be used ({error.strerror}): it has to be a folder that "
            "the API and the workers may read and write"
        )
        told = (
            "the folder of jobs cannot be used now: try again later, or tell the "
            "operator, whose log has the details"
        )
        raise StorageUnavailableError(message, visitor_message=told) from error
    if not min_free_bytes or free - coming_bytes >= min_free_bytes:
        return
    coming = f" and {coming_bytes // _MEBIBYTE} for the upload" if coming_bytes else ""
    message = (
        f"the disk that holds RUNS_DIR has {free // _MEBIBYTE} MiB free, but "
        f"{min_free_bytes // _MEBIBYTE} MiB (MIN_FREE_MIB){coming} are needed: delete "
        "jobs that are over (kennel jobs delete JOB) or make room, then try again"
    )
    raise StorageFullError(message)


def check_descriptors(count: int = SHARD_DESCRIPTORS) -> None:
    """See that this process can open *count* files more.

    Raises:
        OSError: it cannot.
    """
    with ExitStack() as opened:
        for _ in range(count):
            descriptor = os.open(os.devnull, os.O_RDONLY)
            opened.callback(os.close, descriptor)


def outlast_full_disk(
    run: Run,
    work: Callable[[], _Done],
    pause: Callable[[float], bool],
    wait_seconds: float = DISK_WAIT_SECONDS,
) -> _Done:
    """What *work* for *run* returns, done again while its disk does not do its part.

    It may be full or read-only, away for a moment, or this process may have too many
    files open. *pause* waits for some seconds; True means to give up at once.

    Raises:
        OSError: it stays so for *wait_seconds*; or *work* failed otherwise.
        ConflictError: the run has ended meanwhile (code "job_over").
    """
    waiting = _Waiting(run, pause, time.monotonic() + wait_seconds)
    while True:
        try:
            return work()
        except OSError as error:
            if not _may_pass(error, run.folder):
                raise
            waiting.wait(error)


def _check_access(folder: Path) -> None:
    if not os.path.lexists(folder):
        return  # it is made for the first job
    os.stat(f"{folder}/.")  # noqa: PTH116 - a file or a broken link is an error
    needed = os.R_OK | os.W_OK | os.X_OK
    if not os.access(
        folder, needed, effective_ids=os.access in os.supports_effective_ids
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


class _Waiting:
    def __init__(
        self, run: Run, pause: Callable[[float], bool], deadline: float
    ) -> None:
        self._run = run
        self._pause = pause
        self._deadline = deadline
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def wait(self, trouble: OSError) -> None:
        _log.warning("run %s waits for its disk: %s", self._run.id, trouble)
        while True:
            late = time.monotonic() + self._pause_seconds > self._deadline
            if late or self._pause(self._pause_seconds):
                raise trouble
            if self._run.is_over:
                raise ConflictError("the run has ended meanwhile", code="job_over")
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
            # A shard is not worked again only to see that the trouble is still there.
            if _takes_files(self._run.folder / "shards"):
                return


def _may_pass(error: OSError, folder: Path) -> bool:
    # A photo that may not be read is no trouble of this disk.
    ours = str(error.filename or folder).startswith(str(folder))
    return error.errno in _FULL | _PASSING or (error.errno in _READ_ONLY and ours)


def _takes_files(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError:
        return False
    return True
