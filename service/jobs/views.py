"""/v1/jobs: submit, list, follow, cancel, retry and delete folder jobs; fetch their results.

A job that belongs to another API key does not exist for the caller.
"""

from __future__ import annotations

import hashlib
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
from service.auth.guard import shown_key
from service.auth.keys import ADMIN, KEY_HEADER
from service.http.parameters import once_each
from service.jobs.submit import JobSubmitter
from worker.queue import LONGEST_PAGE, PAGE, JobQueue

THUMBNAIL_PIXELS: Final = 240
_THUMBNAILS_AT_ONCE: Final = 2
"""A photo of 50 megapixels takes 200 to 780 MB while it is decoded."""

_THUMBNAIL_SECONDS: Final = 10.0
_PAGE_PARAMETERS: Final = ("limit", "after", "state", "prefix")


@dataclass(frozen=True)
class JobViews:
    """The views of folder jobs.

    Attributes:
        sandbox: decodes photos that take much time or memory, for their thumbnails.
    """

    submitter: JobSubmitter
    queue: JobQueue
    sandbox: DecodeSandbox
    decoders: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(_THUMBNAILS_AT_ONCE)
    )

    def blueprint(self) -> Blueprint:
        """The routes below /v1/jobs."""
        routes = Blueprint("jobs", __name__, url_prefix="/v1/jobs")
        routes.add_url_rule("", view_func=self.submit, methods=["POST"])
        routes.add_url_rule("", view_func=self.page)
        routes.add_url_rule("/<job>", view_func=self.status)
        routes.add_url_rule("/<job>", view_func=self.delete, methods=["DELETE"])
        routes.add_url_rule("/<job>/cancel", view_func=self.cancel, methods=["POST"])
        routes.add_url_rule("/<job>/retry", view_func=self.retry, methods=["POST"])
        routes.add_url_rule("/<job>/submission.csv", view_func=self.submission)
        routes.add_url_rule("/<job>/report", view_func=self.report)
        routes.add_url_rule("/<job>/scores", view_func=self.scores)
        routes.add_url_rule("/<job>/images/<path:image>", view_func=self.image)
        return routes

    def submit(self) -> tuple[Response, int]:
        """Queue a job for a folder or an archive."""
        job = self.submitter.submit(request)
        response = jsonify(job.to_json())
        response.headers["Location"] = url_for("jobs.status", job=job.id)
        return response, 202

    def page(self) -> Response:
        """One page of the jobs, newest first."""
        query = _read_page_query(request.args)
        page = visible_jobs(self.queue).page(**query)
        response = jsonify(jobs=[job.to_json() for job in page.jobs], next=page.next)
        if page.next is not None:
            response.headers["Link"] = _next_link(query, page.next)
        return response

    def status(self, job: str) -> Response:
        """A job's state and progress."""
        return jsonify(visible_jobs(self.queue).status(job).to_json())

    def delete(self, job: str) -> tuple[str, int]:
        """Delete a job that has ended, and all that belongs to it."""
        visible_jobs(self.queue).delete(job)
        return "", 204

    def cancel(self, job: str) -> Response:
        """End a job that has not ended, without a CSV."""
        return jsonify(visible_jobs(self.queue).cancel(job).to_json())

    def retry(self, job: str) -> Response:
        """Queue a failed or cancelled job again."""
        return jsonify(visible_jobs(self.queue).retry(job).to_json())

    def submission(self, job: str) -> Response:
        """The CSV; its ETag is the SHA-256 of the content."""
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

    def report(self, job: str) -> Response:
        """The report of a succeeded job: request, timing, unreadable images."""
        return jsonify(visible_jobs(self.queue).report(job))

    def scores(self, job: str) -> Response:
        """The distribution of a succeeded job's probabilities, and its unsure images."""
        scores = visible_jobs(self.queue).scores(job)
        entries = [_with_thumbnail(job, entry) for entry in scores["uncertain"]]
        return jsonify({**scores, "uncertain": entries})

    def image(self, job: str, image: str) -> Response:
        """A thumbnail of one of a job's images: a JPEG of at most 240 pixels a side."""
        response = Response(self._thumbnail(job, image), mimetype="image/jpeg")
        response.cache_control.private = True
        response.cache_control.max_age = 3600
        # So that a browser does not show it to another key that signs in later.
        response.vary.update(("Authorization", "Cookie", KEY_HEADER))
        return response

    def _thumbnail(self, job: str, image: str) -> bytes:
        if not self.decoders.acquire(timeout=_THUMBNAIL_SECONDS):
            raise ModelOverloadedError("too many thumbnails at once: try again")
        try:
            return self._encode(visible_jobs(self.queue).photo(job, image))
        except TimeoutError as error:
            message = f"no thumbnail of {quoted(image)} within {_THUMBNAIL_SECONDS:g} s"
            raise ModelOverloadedError(f"{message}: try again") from error
        except InvalidImageError as error:
            message = f"image {quoted(image)} of job {job} cannot be shown: {error}"
            raise NotFoundError(message, code="image_not_found") from error
        finally:
            self.decoders.release()

    def _encode(self, photo: bytes) -> bytes:
        if not is_costly(photo):
            return encode_thumbnail(photo, THUMBNAIL_PIXELS)
        pixels = self.sandbox.thumbnail(photo, THUMBNAIL_PIXELS, _THUMBNAIL_SECONDS)
        return encode_jpeg(pixels)


def visible_jobs(queue: JobQueue) -> JobQueue:
    """The jobs of *queue* that the current request may see and change.

    In an open service, and with an admin's key, all of them; else those of its key.
    """
    key = shown_key()
    return queue if key is None or key.allows(ADMIN) else queue.owned_by(key.name)


class _PageQuery(TypedDict):
    limit: int
    after: str | None
    state: str | None
    prefix: str | None


def _read_page_query(given: MultiDict[str, str]) -> _PageQuery:
    query = once_each(given, _PAGE_PARAMETERS)
    return {
        "limit": _limit(query.get("limit")),
        "after": query.get("after"),
        "state": query.get("state"),
        "prefix": query.get("prefix"),
    }


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        message = f"limit={quoted(text)} is not a whole number from 1 to {LONGEST_PAGE}"
        raise InvalidRequestError(message)
    return int(text)


def _next_link(query: _PageQuery, after: str) -> str:
    # RFC 8288.
    given = {**query, "after": after}
    text = urlencode({name: each for name, each in given.items() if each is not None})
    return f'<{request.path}?{text}>; rel="next"'


def _with_thumbnail(job: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "thumbnail": url_for("jobs.image", job=job, image=entry["id"])}
