"""The front of the queue: submit a folder or an archive, follow the job, fetch its CSV.

All that other packages may use of the workers.
"""

from __future__ import annotations

import dataclasses
import threading
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from models.errors import ConflictError
from models.storage import hash_stream
from worker.archives.bounds import MAX_UNPACKED_BYTES, Bounds
from worker.archives.unpacking import unpack_archive
from worker.assembly import broken_shards
from worker.deletion import delete_run
from worker.figures import JobFigures
from worker.intake import Intake
from worker.items import Listing
from worker.job_pages import LONGEST_PAGE, PAGE, JobPage
from worker.monitoring import JobLimits, MonitoredQueue
from worker.online import OnlineTraffic
from worker.photos import check_photos
from worker.request import FAIL, JobRequest
from worker.runs import find_run
from worker.sheets.job_sheets import NO_SHEETS, Sheets, opened_sheets
from worker.sources.source import list_photos
from worker.status import STATES, JobStatus, read_state, read_status
from worker.worklist import QUEUE_NAME, WorkList

__all__ = [
    "LONGEST_PAGE",
    "MAX_UNPACKED_BYTES",
    "PAGE",
    "STATES",
    "JobFigures",
    "JobLimits",
    "JobPage",
    "JobQueue",
    "JobRequest",
    "JobStatus",
    "Sheets",
]

_LEAVING_SECONDS: Final = 5.0
"""A worker leaves a cancelled job after the batch at hand."""


class JobQueue(MonitoredQueue):
    """Folder jobs of one kennel; cheap to make, connects when it must, thread-safe."""

    def __init__(
        self,
        redis_url: str,
        runs_dir: Path,
        input_root: Path | str,
        *,
        queue_name: str = QUEUE_NAME,
        shard_size: int | None = None,
        limits: JobLimits | None = None,
    ) -> None:
        """Keep runs in *runs_dir*, read folders below *input_root*.

        Shards have *shard_size* images; None lets each job's size decide.

        Raises:
            InvalidRequestError: *input_root* is a URL for which there is no driver.
        """
        limits = limits or JobLimits()
        self._input_root = input_root
        self._online = OnlineTraffic(redis_url)
        work_list = WorkList(redis_url, queue_name)
        super().__init__(runs_dir, input_root, work_list, limits)
        self._intake = Intake(runs_dir, work_list, shard_size, limits.min_free_bytes)
        self._bounds = Bounds(total_bytes=limits.max_unpacked_bytes)
        # One at a time: a list of 200,000 files takes 150 MB while it is read.
        self._unpacking = threading.Lock()

    def submit(
        self,
        request: JobRequest,
        idempotency_key: str | None = None,
        sheets: Sheets = NO_SHEETS,
    ) -> JobStatus:
        """Start a job; with the same key and request, the job that is already there.

        *sheets* may say which images it has, and what its CSV looks like. From the
        moment this returns, the job ends with a CSV or a reason, whatever crashes.

        Raises:
            InvalidRequestError: the request, its folder or a sheet cannot be used.
            ConflictError: the key was used for another request.
            QueueUnavailableError: Redis is away; nothing was started.
            StorageUnavailableError: the photos' storage is away; nothing was started.
            StorageFullError, OSError: the disk is full or read-only; nothing was
                started.
        """
        with opened_sheets(sheets, self._input_root, self._runs_dir) as opened:
            asked = opened.settle(request)

            def take_photos(draft: Path) -> Listing:
                opened.keep(draft)
                folder = self._photo_root.folder(request.input)
                return opened.list_images(
                    asked, partial(list_photos, folder), folder.images_in
                )

            return read_status(self._intake.admit(asked, idempotency_key, take_photos))

    def submit_archive(
        self,
        request: JobRequest,
        archive: BinaryIO,
        idempotency_key: str | None = None,
        sheets: Sheets = NO_SHEETS,
    ) -> JobStatus:
        """Start a job for the photos in *archive*, a zip, tar or tar.gz; as `submit`.

        *archive* can be sought; it is not needed any more when this returns, because
        its photos are in the run. With the same key it has to be the same archive.

        Raises:
            InvalidRequestError: the request, the archive or a sheet cannot be used.
            ConflictError, QueueUnavailableError, StorageFullError, OSError: as
                `submit`.
        """
        archive.seek(0)
        digest = hash_stream(archive)
        with opened_sheets(sheets, self._input_root, self._runs_dir) as opened:
            asked = dataclasses.replace(opened.settle(request), archive=digest)

            def unpack_photos(draft: Path) -> Listing:
                opened.keep(draft)
                with self._unpacking:
                    photos = unpack_archive(archive, draft / "photos", self._bounds)
                return opened.list_images(asked, lambda: photos, photos.images_in)

            return read_status(
                self._intake.admit(asked, idempotency_key, unpack_photos)
            )

    def cancel(self, job_id: str) -> JobStatus:
        """End a job without a CSV; once more changes nothing.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has already succeeded or failed.
        """
        run = find_run(self._runs_dir, job_id)
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
        """
        run = find_run(self._runs_dir, job_id)
        state = read_state(run)
        if state not in {"failed", "cancelled"}:
            message = f"job {job_id} is {state}: only failed or cancelled jobs go on"
            raise ConflictError(message, code="job_not_retryable")
        self._work_list.ping()
        mended = run.manifest.request.on_unreadable == FAIL
        broken = broken_shards(run, with_unreadable=mended)
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
        run = find_run(self._runs_dir, job_id)
        # A shard that is still queued finds no run when its turn comes.
        delete_run(run, wait_seconds=_LEAVING_SECONDS)

    def note_online_traffic(self) -> None:
        """Tell the workers that people wait for answers: they leave room for these.

        It holds for three seconds.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        self._online.note()
