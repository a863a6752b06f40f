"""The front of the queue: submit a folder, follow the job, fetch its CSV.

All that other packages may use of the workers. Answers about jobs come from the run
directories alone, so they are there when Redis is not.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from pathlib import Path

from models.errors import ConflictError, NotFoundError, QueueUnavailableError
from worker.assembly import broken_shards, unclipped_rows
from worker.folders import list_folder, resolve_folder
from worker.manifest import choose_shard_size, render_manifest
from worker.reconciler import reconcile_run
from worker.request import FAIL, JobRequest
from worker.run import Run, now
from worker.runs import all_runs, create_run, find_run
from worker.status import JobStatus, read_status
from worker.worklist import QUEUE_NAME, WorkList

__all__ = ["JobQueue", "JobRequest", "JobStatus"]

_log = logging.getLogger("kennel.queue")


class JobQueue:
    """Folder jobs of one kennel; cheap to make, connects when it must, thread-safe."""

    def __init__(
        self,
        redis_url: str,
        runs_dir: Path,
        input_root: Path,
        *,
        queue_name: str = QUEUE_NAME,
        shard_size: int | None = None,
    ) -> None:
        """Keep runs in *runs_dir*, read folders below *input_root*.

        Shards have *shard_size* images; None lets each job's size decide.
        """
        self._work_list = WorkList(redis_url, queue_name)
        self._runs_dir = runs_dir
        self._input_root = input_root
        self._shard_size = shard_size

    def submit(
        self, request: JobRequest, idempotency_key: str | None = None
    ) -> JobStatus:
        """Start a job; with the same key and request, the job that is already there.

        From the moment this returns, the job ends with a CSV or a reason, whatever
        crashes.

        Raises:
            InvalidRequestError: the request or its folder cannot be used.
            ConflictError: the key was used for another request.
            QueueUnavailableError: Redis is away; nothing was started.
            OSError: the disk is full or read-only; nothing was started.
        """
        request.check()
        job_id = _job_id(idempotency_key)
        known = self._find(job_id)
        if known is None:
            folder = resolve_folder(self._input_root, request.input)
            listing = list_folder(folder, request.input)
            self._work_list.ping()
            size = self._shard_size or choose_shard_size(len(listing.items))
            manifest = render_manifest(job_id, request, listing, now(), size)
            # Another submit with this key may have been faster: then its run is there.
            known = create_run(self._runs_dir, job_id, manifest)
            self._queue_work(known)
        if not known.manifest.request.asks_the_same(request):
            message = (
                f"Idempotency-Key {idempotency_key!r} was used for another request "
                f"(job {job_id}): use a new key"
            )
            raise ConflictError(message, code="idempotency_conflict")
        return read_status(known)

    def status(self, job_id: str) -> JobStatus:
        """The job now.

        Raises:
            NotFoundError: there is no such job.
        """
        return read_status(find_run(self._runs_dir, job_id))

    def jobs(self) -> list[JobStatus]:
        """All jobs, newest first."""
        found = []
        for run in all_runs(self._runs_dir):
            try:
                found.append(read_status(run))
            except NotFoundError as error:
                _log.warning("run %s is left out: %s", run.id, error)
        return sorted(found, key=lambda job: (job.created, job.id), reverse=True)

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
            ConflictError: it is neither failed nor cancelled.
            QueueUnavailableError: Redis is away; the job is as it was.
        """
        run = find_run(self._runs_dir, job_id)
        state = read_status(run).state
        if state not in {"failed", "cancelled"}:
            message = f"job {job_id} is {state}: only failed or cancelled jobs go on"
            raise ConflictError(message, code="job_not_retryable")
        self._work_list.ping()
        mended = run.manifest.request.on_unreadable == FAIL
        run.reopen(broken_shards(run, with_unreadable=mended))
        self._queue_work(run)
        return read_status(run)

    def submission(self, job_id: str) -> Path:
        """The finished CSV.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has not succeeded (code "job_not_finished").
        """
        run = find_run(self._runs_dir, job_id)
        state = read_status(run).state
        if state != "succeeded":
            message = f"job {job_id} is {state}: its submission.csv is not there"
            raise ConflictError(message, code="job_not_finished")
        return run.csv

    def raw_probabilities(self, job_id: str) -> dict[str, tuple[float, ...]]:
        """Each image's probabilities before clipping, by id, in the CSV's order.

        An image that could not be read has the uniform prior, as in the CSV.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has not succeeded (code "job_not_finished").
        """
        self.submission(job_id)
        return unclipped_rows(find_run(self._runs_dir, job_id))

    def ping(self, timeout_seconds: float) -> None:
        """See that jobs can be queued.

        Raises:
            QueueUnavailableError: they cannot; the message says why.
        """
        self._work_list.ping(timeout_seconds)

    def _find(self, job_id: str) -> Run | None:
        try:
            return find_run(self._runs_dir, job_id)
        except NotFoundError:
            return None

    def _queue_work(self, run: Run) -> None:
        try:
            reconcile_run(run, self._work_list)
        except QueueUnavailableError as error:
            # The run is there, so it counts: the reconciler queues what is missing.
            _log.warning("run %s is left to the reconciler: %s", run.id, error)


def _job_id(idempotency_key: str | None) -> str:
    if idempotency_key is None:
        return secrets.token_hex(8)
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]
