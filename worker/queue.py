"""The front of the queue: submit a folder or an archive, follow the job, fetch its CSV.

All that other packages may use of the workers.
"""

from __future__ import annotations

from typing import Final

from models.errors import ConflictError
from worker.archives.bounds import MAX_UNPACKED_BYTES
from worker.assembly import broken_shards
from worker.deletion import delete_run
from worker.disk_figures import DiskFigures
from worker.figures import JobFigures
from worker.job_pages import LONGEST_PAGE, PAGE, JobPage
from worker.monitoring import JobLimits
from worker.photos import check_photos
from worker.queue_figures import QueueFigures
from worker.request import BY_DEFAULT, FORMATS, JobRequest
from worker.runs import found_run
from worker.shared_counts import SharedCounts
from worker.sheets.job_sheets import Sheets
from worker.status import STATES, JobStatus, read_state, read_status
from worker.submitting import SubmittingQueue

__all__ = [
    "BY_DEFAULT",
    "FORMATS",
    "LONGEST_PAGE",
    "MAX_UNPACKED_BYTES",
    "PAGE",
    "STATES",
    "DiskFigures",
    "JobFigures",
    "JobLimits",
    "JobPage",
    "JobQueue",
    "JobRequest",
    "JobStatus",
    "QueueFigures",
    "SharedCounts",
    "Sheets",
]

_LEAVING_SECONDS: Final = 5.0
"""A worker leaves a cancelled job after the batch at hand."""


class JobQueue(SubmittingQueue):
    """Folder jobs of one kennel; cheap to make, connects when it must, thread-safe."""

    def cancel(self, job_id: str) -> JobStatus:
        """End a job without a CSV; once more changes nothing.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has already succeeded or failed.
        """
        run = self._find(job_id)
        # Queued shards see the marker and return; running ones stop at a batch.
        run.cancel()
        status = read_status(run)
        if status.state != "cancelled":
            message = f"job {job_id} has {status.state}: it cannot be cancelled"
            raise ConflictError(message, code="job_finished")
        return status

    def retry(self, job_id: str) -> JobStatus:
        """Let a failed or cancelled job go on from what is done.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it is neither failed nor cancelled, or its photos are gone.
            QueueUnavailableError: Redis is away; the job is as it was.
            OSError: its files cannot be read now; the job is as it was.
        """
        run = self._find(job_id)
        state = read_state(run)
        if state not in {"failed", "cancelled"}:
            what = "has succeeded" if state == "succeeded" else f"is {state}"
            message = f"job {job_id} {what}: only failed or cancelled jobs go on"
            raise ConflictError(message, code="job_not_retryable")
        self._work_list.ping()
        with found_run(self._runs_dir, job_id):
            broken = broken_shards(run)
        if broken or run.missing_shards():
            check_photos(run)
        run.reopen(broken)
        self._intake.queue_work(run)
        return read_status(run)

    def delete(self, job_id: str) -> None:
        """Delete a job that is over, with its CSV and the photos uploaded for it.

        Raises:
            NotFoundError: there is no such job (any more).
            ConflictError: it is queued or running, or a worker is still leaving it.
            OSError: the disk is read-only.
        """
        run = self._find(job_id)
        # A shard that is still queued finds no run when its turn comes.
        delete_run(run, wait_seconds=_LEAVING_SECONDS)

    def note_online_traffic(self) -> None:
        """Tell the workers that people wait for answers: they leave room for these.

        It holds for some seconds, and is remembered for a minute.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        self._online.note()
