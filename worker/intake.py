"""Takes a job in: its run directory first, complete at once, then what is to be worked."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from models.errors import ConflictError, NotFoundError, QueueUnavailableError, quoted
from models.files import explained_full_disk, write_atomically
from worker.disk import check_room
from worker.dispatch import top_up
from worker.drafts import drafted_run, publish_draft
from worker.items import Listing
from worker.manifest import render_manifest
from worker.request import JobRequest
from worker.run import Run
from worker.run_folder import now
from worker.runs import find_run
from worker.shard_sizes import choose_shard_size
from worker.worklist import WorkList

TakePhotos: TypeAlias = Callable[[Path], Listing]
"""Lists a job's photos; those that have to be kept are written below the draft."""

_log = logging.getLogger("kennel.queue")


@dataclass(frozen=True)
class Intake:
    """Where runs are made and where their work is queued."""

    runs_dir: Path
    work_list: WorkList
    shard_size: int | None
    min_free_bytes: int = 0

    def admit(
        self, request: JobRequest, idempotency_key: str | None, take_photos: TakePhotos
    ) -> Run:
        """The run of a new job, queued; with a known key the run that is there.

        Raises:
            InvalidRequestError: the request or its photos cannot be used.
            ConflictError: the key was used for another request.
            QueueUnavailableError: Redis is away; nothing was started.
            StorageFullError, OSError: the disk is full or read-only; nothing was
                started.
        """
        request.check()
        job_id = _job_id(idempotency_key, request.owner)
        run = self._find(job_id)
        if run is None:
            with explained_full_disk("RUNS_DIR"):
                # Another submit with this key may be faster: then its run is there.
                run = self._create(job_id, request, take_photos)
            self.queue_work(run)
        if not run.manifest.request.asks_the_same(request):
            message = (
                f"Idempotency-Key {quoted(idempotency_key)} was used for another "
                f"request (job {job_id}): use a new key"
            )
            raise ConflictError(message, code="idempotency_conflict")
        return run

    def queue_work(self, run: Run) -> None:
        """Let *run* have its share; while Redis is away, the reconciler sees to it."""
        try:
            self.work_list.announce({run.id: run.manifest.request.priority})
            top_up(self.runs_dir, self.work_list)
        except QueueUnavailableError as error:
            _log.warning("run %s is left to the reconciler: %s", run.id, error)

    def _create(self, job_id: str, request: JobRequest, take_photos: TakePhotos) -> Run:
        check_room(self.runs_dir, self.min_free_bytes)
        self.work_list.ping()
        with drafted_run(self.runs_dir, job_id) as draft:
            listing = take_photos(draft)
            size = self.shard_size or choose_shard_size(len(listing.items))
            if request.card is not None:
                write_atomically(Run(draft).card, request.card.to_json())
            manifest = render_manifest(job_id, request, listing, now(), size)
            return Run(publish_draft(draft, job_id, manifest))

    def _find(self, job_id: str) -> Run | None:
        try:
            return find_run(self.runs_dir, job_id)
        except NotFoundError:
            return None


def _job_id(idempotency_key: str | None, owner: str | None) -> str:
    if idempotency_key is None:
        return secrets.token_hex(8)
    if owner is not None:
        # Two owners may choose the same key; neither has a space in it.
        idempotency_key = f"{owner} {idempotency_key}"
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]
