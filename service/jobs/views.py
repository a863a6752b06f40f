"""/v1/jobs: hands folders to the queue and tells what became of them."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

from flask import Response, jsonify, request, send_file, url_for
from flask_smorest import Blueprint

from models.errors import InvalidRequestError
from service.budget import read_budget
from service.documents.jobs import (
    CANCEL_JOB,
    DELETE_JOB,
    FETCH_SUBMISSION,
    LIST_JOBS,
    RETRY_JOB,
    SHOW_JOB,
)
from service.documents.new_job import SUBMIT_JOB
from service.documents.operations import documented
from service.jobs.archive_upload import (
    ArchiveUploads,
    holds_archive,
    input_name,
    names_folder,
)
from service.jobs.job_page import next_link, read_page_query
from service.jobs.job_request import read_job_request, read_json
from service.jobs.sheets import read_sheets
from service.protection.guard import sender_name, shown_key
from service.protection.keys import ADMIN
from service.served.catalog import Catalog
from service.settings import ServiceSettings
from worker.queue import JobQueue, JobRequest, JobStatus

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
MAX_BODY_BYTES: Final = 64 * 1024

_VISIBLE: Final = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True)
class JobViews:
    """The views of folder jobs and what they work with."""

    settings: ServiceSettings
    catalog: Catalog
    queue: JobQueue
    uploads: ArchiveUploads

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("jobs", __name__, url_prefix="/v1/jobs")
        routes.add_url_rule("", view_func=self.submit, methods=["POST"])
        routes.add_url_rule("", view_func=self.all_jobs)
        routes.add_url_rule("/<job>", "job", self.status)
        routes.add_url_rule("/<job>", view_func=self.delete, methods=["DELETE"])
        routes.add_url_rule("/<job>/submission.csv", view_func=self.submission)
        routes.add_url_rule("/<job>/cancel", view_func=self.cancel, methods=["POST"])
        routes.add_url_rule("/<job>/retry", view_func=self.retry, methods=["POST"])
        return routes

    @documented(SUBMIT_JOB)
    def submit(self) -> tuple[Response, int]:
        """Queue a folder or an uploaded archive, pinned to the version served now."""
        key = _idempotency_key()
        submit = self._submit_upload if holds_archive(request) else self._submit_folder
        status = submit(key)
        response = jsonify(status.to_json())
        response.headers["Location"] = url_for("jobs.job", job=status.id)
        return response, 202

    @documented(LIST_JOBS)
    def all_jobs(self) -> Response:
        """The jobs that the queue knows, a page of them."""
        query = read_page_query(request.args)
        page = visible_jobs(self.queue).page(**query)
        jobs = [job.to_json() for job in page.jobs]
        response = jsonify(jobs=jobs, next=page.next)
        if page.next is not None:
            response.headers["Link"] = next_link(request.path, query, page.next)
        return response

    @documented(SHOW_JOB)
    def status(self, job: str) -> Response:
        """One job's state and progress."""
        return jsonify(visible_jobs(self.queue).status(job).to_json())

    @documented(DELETE_JOB)
    def delete(self, job: str) -> tuple[str, int]:
        """Delete a job that is over, and all that belongs to it."""
        visible_jobs(self.queue).delete(job)
        return "", 204

    @documented(CANCEL_JOB)
    def cancel(self, job: str) -> Response:
        """End a job that has not finished."""
        return jsonify(visible_jobs(self.queue).cancel(job).to_json())

    @documented(RETRY_JOB)
    def retry(self, job: str) -> Response:
        """Put a failed or cancelled job back to work."""
        return jsonify(visible_jobs(self.queue).retry(job).to_json())

    @documented(FETCH_SUBMISSION)
    def submission(self, job: str) -> Response:
        """The finished CSV; its ETag is the content's."""
        jobs = visible_jobs(self.queue)
        with jobs.reading(job):
            path = jobs.submission(job).resolve()
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return send_file(
                path,
                mimetype="text/csv",
                as_attachment=True,
                download_name="submission.csv",
                etag=digest,
            )

    def _submit_folder(self, key: str | None) -> JobStatus:
        request.max_content_length = MAX_BODY_BYTES
        body = read_json(request)
        asked = self._read(body)
        return self.queue.submit(asked, key, read_sheets(body, request))

    def _submit_upload(self, key: str | None) -> JobStatus:
        # It comes in beside its photos, which are about as large.
        self.queue.check_room(2 * (request.content_length or 0))
        with self.uploads.taking(request, sender_name()):
            given = self.uploads.members(request)
            sheets = read_sheets(given, request)
            if names_folder(request):
                return self.queue.submit(self._read(given), key, sheets)
            # Before the archive comes in: a mistake should not cost an upload.
            named = self._read({**given, "input": given.get("input") or "archive"})
            with self.uploads.archive(request) as (name, archive):
                shown = input_name(given.get("input") or name)
                asked = dataclasses.replace(named, input=shown)
                return self.queue.submit_archive(asked, archive, key, sheets)

    def _read(self, members: Any) -> JobRequest:
        default_timeout = self.settings.request_timeout_seconds
        budget = read_budget(request.headers, default_timeout)
        return read_job_request(members, self.catalog, budget)


def visible_jobs(queue: JobQueue) -> JobQueue:
    """The jobs of *queue* that the request in work may see and change.

    In an open service, and with an admin's key, all of them; else those of its key.
    """
    key = shown_key()
    return queue if key is None or key.allows(ADMIN) else queue.owned_by(key.name)


def _idempotency_key() -> str | None:
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is not None and not _VISIBLE.fullmatch(key):
        message = f"{IDEMPOTENCY_HEADER}: use 1 to 200 visible ASCII characters"
        raise InvalidRequestError(message)
    return key
