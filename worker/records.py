"""What the run directories tell about jobs; nothing here needs Redis or a model server."""

from __future__ import annotations

import copy
import json
import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from models.errors import ConflictError, NotFoundError
from models.files import parse_json, write_atomically
from worker.assembly import unclipped_rows
from worker.job_pages import PAGE, JobPage, read_page
from worker.photos import read_photo
from worker.run import Run
from worker.runs import find_run, found_run, newest_first
from worker.scores import score_run
from worker.sources.roots import open_root
from worker.status import JobStatus, read_state, read_status

_log = logging.getLogger("kennel.queue")


class JobRecords:
    """Folder jobs of one kennel, to be looked at."""

    def __init__(self, runs_dir: Path, input_root: Path | str) -> None:
        """Look at the runs in *runs_dir*, whose folders lie below *input_root*.

        *input_root* is a local folder, or a URL of object storage.

        Raises:
            InvalidRequestError: there is no driver for the URL.
        """
        self._runs_dir = runs_dir
        self._photo_root = open_root(input_root)
        self._owner: str | None = None

    def owned_by(self, owner: str) -> Self:
        """These jobs as *owner* sees them: those of others are not there."""
        theirs = copy.copy(self)
        theirs._owner = owner
        return theirs

    def status(self, job_id: str) -> JobStatus:
        """The job now.

        Raises:
            NotFoundError: there is no such job.
        """
        return read_status(self._find(job_id))

    def jobs(self) -> list[JobStatus]:
        """All jobs, newest first."""
        found = []
        for job_id in newest_first(self._runs_dir, self._owner):
            try:
                found.append(read_status(Run(self._runs_dir / job_id)))
            except NotFoundError as error:
                _log.warning("run %s is left out: %s", job_id, error)
        return found

    def page(
        self,
        limit: int = PAGE,
        *,
        after: str | None = None,
        state: str | None = None,
        prefix: str | None = None,
    ) -> JobPage:
        """At most *limit* jobs older than *after*, newest first; as `read_page`.

        Raises:
            InvalidRequestError: a value that cannot be used, or *after* is not there.
        """
        return read_page(
            self._runs_dir,
            limit,
            after=after,
            state=state,
            owner=self._owner,
            prefix=prefix,
        )

    def reading(self, job_id: str) -> AbstractContextManager[object]:
        """A block that reads files of the job: a deletion meanwhile is no OSError.

        Raises:
            NotFoundError: there is no such job (any more).
        """
        return self._found(job_id)

    def submission(self, job_id: str) -> Path:
        """The finished CSV.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has not succeeded (code "job_not_finished").
        """
        return self._succeeded(job_id, "submission.csv is").csv

    def raw_probabilities(self, job_id: str) -> dict[str, tuple[float, ...]]:
        """Each image's probabilities before clipping, by id, in the CSV's order.

        An image that could not be read has the uniform prior, as in the CSV.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has not succeeded (code "job_not_finished").
        """
        with self._found(job_id):
            return unclipped_rows(self._succeeded(job_id, "probabilities are"))

    def scores(self, job_id: str) -> dict[str, Any]:
        """What the result looks like, as a JSON object; computed once.

        Histograms of the raw probabilities, counts, and the least certain images.

        Raises:
            NotFoundError: there is no such job, or its shards are damaged.
            ConflictError: it has not succeeded (code "job_not_finished").
        """
        with self._found(job_id):
            run = self._succeeded(job_id, "scores are")
            try:
                known: dict[str, Any] = parse_json(
                    run.scores.read_text(encoding="utf-8")
                )
            except (OSError, ValueError):
                known = score_run(run)
                self._keep(run, known)
            return known

    def report(self, job_id: str) -> dict[str, Any]:
        """What was asked and done, how long it took and what was lost: report.json.

        Raises:
            NotFoundError: there is no such job, or its report is damaged.
            ConflictError: it has not succeeded (code "job_not_finished").
        """
        run = self._succeeded(job_id, "report is")
        try:
            report: dict[str, Any] = parse_json(run.report.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            message = f"the report of job {job_id} is damaged: submit the folder again"
            raise NotFoundError(message, code="report_not_found") from error
        return report

    def photo(self, job_id: str, image_id: str) -> bytes:
        """The file of one of the job's images, as it was sent.

        Raises:
            NotFoundError: there is no such job or image, or its file is gone.
            StorageUnavailableError: the storage is away.
        """
        with self._found(job_id) as run:
            return read_photo(run, self._photo_root, image_id)

    def _succeeded(self, job_id: str, what: str) -> Run:
        run = self._find(job_id)
        state = read_state(run)
        if state != "succeeded":
            message = f"job {job_id} is {state}: its {what} not there"
            raise ConflictError(message, code="job_not_finished")
        return run

    def _find(self, job_id: str) -> Run:
        return find_run(self._runs_dir, job_id, self._owner)

    def _found(self, job_id: str) -> AbstractContextManager[Run]:
        return found_run(self._runs_dir, job_id, self._owner)

    def _keep(self, run: Run, scores: dict[str, Any]) -> None:
        try:
            write_atomically(run.scores, json.dumps(scores, ensure_ascii=False))
        except OSError as error:
            _log.warning("run %s: scores are not kept: %s", run.id, error)
