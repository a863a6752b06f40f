"""/v1/jobs: submit, list, follow, end and delete jobs; fetch their CSV, report and scores.

A job that belongs to another API key does not exist for the caller.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request, send_file, url_for
from werkzeug.datastructures import MultiDict

from models.errors import (
    InvalidImageError,
    InvalidRequestError,
    ModelOverloadedError,
    NotFoundError,
    quoted,
)
from models.images.codec import encode_jpeg, encode_thumbnail, is_costly
from models.images.sandbox import DecodeSandbox
from service.auth.guard import KEY_HEADER, sender_name, shown_key
from service.auth.keys import ADMIN
from service.http.budget import read_budget
from service.http.parameters import once_each
from service.jobs.submit import (
    ArchiveUploads,
    holds_archive,
    input_name,
    names_folder,
    read_job_request,
    read_json,
    read_sheets,
)
from service.predict.catalog import Catalog
from service.settings import ServiceSettings
from worker.queue import LONGEST_PAGE, PAGE, JobQueue, JobRequest, JobStatus

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

    def submit(self) -> tuple[Response, int]:
        """Queue a folder or an uploaded archive, pinned to the version served now."""
        key = _idempotency_key()
        submit = self._submit_upload if holds_archive(request) else self._submit_folder
        status = submit(key)
        response = jsonify(status.to_json())
        response.headers["Location"] = url_for("jobs.job", job=status.id)
        return response, 202

    def all_jobs(self) -> Response:
        """The jobs that the queue knows, a page of them."""
        query = read_page_query(request.args)
        page = visible_jobs(self.queue).page(**query)
        jobs = [job.to_json() for job in page.jobs]
        response = jsonify(jobs=jobs, next=page.next)
        if page.next is not None:
            response.headers["Link"] = next_link(request.path, query, page.next)
        return response

    def status(self, job: str) -> Response:
        """One job's state and progress."""
        return jsonify(visible_jobs(self.queue).status(job).to_json())

    def delete(self, job: str) -> tuple[str, int]:
        """Delete a job that is over, and all that belongs to it."""
        visible_jobs(self.queue).delete(job)
        return "", 204

    def cancel(self, job: str) -> Response:
        """End a job that has not finished."""
        return jsonify(visible_jobs(self.queue).cancel(job).to_json())

    def retry(self, job: str) -> Response:
        """Put a failed or cancelled job back to work."""
        return jsonify(visible_jobs(self.queue).retry(job).to_json())

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


DECODERS: Final = 2
"""A photo of 50 megapixels takes 200 to 780 MB while it is decoded."""

THUMBNAIL_SIDE: Final = 240
_PATIENCE_SECONDS: Final = 10.0


@dataclass(frozen=True)
class ScoreViews:
    """The views of finished jobs and what they work with."""

    queue: JobQueue
    sandbox: DecodeSandbox
    decoders: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(DECODERS)
    )

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("scores", __name__, url_prefix="/v1/jobs/<job>")
        routes.add_url_rule("/report", view_func=self.report)
        routes.add_url_rule("/scores", view_func=self.scores)
        routes.add_url_rule("/images/<path:image>", view_func=self.image)
        return routes

    def report(self, job: str) -> Response:
        """What was asked and done, how long it took and what was lost."""
        return jsonify(visible_jobs(self.queue).report(job))

    def scores(self, job: str) -> Response:
        """Histograms, counts and the least certain images of a job that succeeded."""
        scores = visible_jobs(self.queue).scores(job)
        entries = [_with_thumbnail(job, entry) for entry in scores["uncertain"]]
        return jsonify({**scores, "uncertain": entries})

    def image(self, job: str, image: str) -> Response:
        """One of a job's images as a JPEG of at most 240 pixels a side."""
        response = Response(self._thumbnail(job, image), mimetype="image/jpeg")
        response.cache_control.private = True
        response.cache_control.max_age = 3600
        # Not for who signs in next with another key, in the same browser.
        response.vary.update(("Authorization", "Cookie", KEY_HEADER))
        return response

    def _thumbnail(self, job: str, image: str) -> bytes:
        if not self.decoders.acquire(timeout=_PATIENCE_SECONDS):
            raise ModelOverloadedError("too many thumbnails are asked for: try again")
        try:
            return self._encode(visible_jobs(self.queue).photo(job, image))
        except TimeoutError as error:
            message = f"no thumbnail of {quoted(image)} within {_PATIENCE_SECONDS:g} s"
            raise ModelOverloadedError(f"{message}: try again") from error
        except InvalidImageError as error:
            message = f"image {quoted(image)} of job {job} cannot be shown: {error}"
            raise NotFoundError(message, code="image_not_found") from error
        finally:
            self.decoders.release()

    def _encode(self, photo: bytes) -> bytes:
        if not is_costly(photo):
            return encode_thumbnail(photo, THUMBNAIL_SIDE)
        pixels = self.sandbox.thumbnail(photo, THUMBNAIL_SIDE, _PATIENCE_SECONDS)
        return encode_jpeg(pixels)


def _with_thumbnail(job: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "thumbnail": url_for("scores.image", job=job, image=entry["id"])}


_KNOWN: Final = ("limit", "after", "state", "prefix")


class PageQuery(TypedDict):
    """What `JobQueue.page` takes."""

    limit: int
    after: str | None
    state: str | None
    prefix: str | None


def read_page_query(given: MultiDict[str, str]) -> PageQuery:
    """The page that a query asks for; the first hundred jobs without one.

    Raises:
        InvalidRequestError: a parameter that is unknown, twice there or no number.
    """
    query = once_each(given, _KNOWN)
    return {
        "limit": _limit(query.get("limit")),
        "after": query.get("after"),
        "state": query.get("state"),
        "prefix": query.get("prefix"),
    }


def next_link(path: str, query: PageQuery, after: str) -> str:
    """The Link header that leads from a page to the one behind *after* (RFC 8288)."""
    given = {**query, "after": after}
    text = urlencode({name: each for name, each in given.items() if each is not None})
    return f'<{path}?{text}>; rel="next"'


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        message = f"limit={quoted(text)} is not a whole number from 1 to {LONGEST_PAGE}"
        raise InvalidRequestError(message)
    return int(text)
