"""What can be asked about the queue itself: its Redis, its workers, its disk, its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worker.archives.bounds import MAX_UNPACKED_BYTES
from worker.disk import check_room
from worker.disk_figures import DiskFigures, read_disk
from worker.figures import JobFigures, read_figures
from worker.queue_figures import QueueFigures
from worker.reconciler import LOCK_NAME
from worker.records import JobRecords
from worker.worklist import WorkList


@dataclass(frozen=True)
class JobLimits:
    """What a job may take.

    Attributes:
        max_unpacked_bytes: the photos of an archive together.
        min_free_bytes: what has to be free on the disk of the runs before a job is
            taken in.
    """

    max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    min_free_bytes: int = 0


class MonitoredQueue(JobRecords):
    """Folder jobs of one kennel and what they need, to be looked at."""

    def __init__(
        self,
        runs_dir: Path,
        input_root: Path | str,
        work_list: WorkList,
        limits: JobLimits,
    ) -> None:
        """Look at *work_list*, and at the runs in *runs_dir*."""
        super().__init__(runs_dir, input_root)
        self._work_list = work_list
        self._limits = limits

    def ping(self, timeout_seconds: float) -> None:
        """See that jobs can be queued.

        Raises:
            QueueUnavailableError: they cannot; the message says why.
        """
        self._work_list.ping(timeout_seconds)

    @property
    def name(self) -> str:
        """The name of the queue that jobs are put into."""
        return self._work_list.queue_name

    def figures(self) -> list[JobFigures]:
        """What monitoring needs to know of all jobs; cheap to ask again."""
        return read_figures(self._runs_dir)

    def queue_figures(self, timeout_seconds: float) -> QueueFigures:
        """What monitoring needs to know of the work list.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        return self._work_list.figures(timeout_seconds)

    def last_reconciled(self) -> float | None:
        """When a reconciler looked for lost work last, in seconds since the epoch.

        None: never, as far as can be seen.
        """
        try:
            return (self._runs_dir / LOCK_NAME).stat().st_mtime
        except OSError:
            return None

    def check_room(self, coming_bytes: int = 0) -> None:
        """See that there is room for a job, after *coming_bytes* have been written.

        Raises:
            StorageFullError: there is none; the message says how much is free.
        """
        check_room(self._runs_dir, self._limits.min_free_bytes, coming_bytes)

    def disk(self) -> DiskFigures:
        """The disk of the runs.

        Raises:
            OSError: it cannot be asked.
        """
        return read_disk(self._runs_dir, self._limits.min_free_bytes)
