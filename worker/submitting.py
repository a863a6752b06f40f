"""Takes jobs in: a folder below INPUT_ROOT, or an archive that is sent along."""

from __future__ import annotations

import dataclasses
import threading
from functools import partial
from pathlib import Path
from typing import BinaryIO

from models.files import hash_stream
from worker.archives.bounds import Bounds
from worker.archives.unpacking import unpack_archive
from worker.intake import Intake
from worker.items import Listing
from worker.monitoring import JobLimits, MonitoredQueue
from worker.online import OnlineTraffic
from worker.request import JobRequest
from worker.shared_counts import SharedCounts
from worker.sheets.job_sheets import NO_SHEETS, Sheets, opened_sheets
from worker.sources.source import list_photos
from worker.status import JobStatus, read_status
from worker.worklist import QUEUE_NAME, WorkList


class SubmittingQueue(MonitoredQueue):
    """Folder jobs of one kennel, to be looked at and added to."""

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
        self.counts = SharedCounts(redis_url)
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
                    asked, partial(list_photos, folder), folder.names
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
                listed = opened.listed()
                with self._unpacking:
                    photos = unpack_archive(
                        archive, draft / "photos", self._bounds, listed
                    )
                return opened.list_images(asked, lambda: photos, photos.names)

            return read_status(
                self._intake.admit(asked, idempotency_key, unpack_photos)
            )
