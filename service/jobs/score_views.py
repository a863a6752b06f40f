"""What a finished job's result looks like: report, scores, and images as thumbnails."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Response, jsonify, url_for
from flask_smorest import Blueprint

from models.errors import InvalidImageError, ModelOverloadedError, NotFoundError, quoted
from models.images.codec import encode_jpeg, encode_thumbnail, is_costly
from models.images.sandbox import DecodeSandbox
from service.documents.operations import documented
from service.documents.report import SHOW_REPORT
from service.documents.scores import SHOW_IMAGE, SHOW_SCORES
from service.jobs.views import visible_jobs
from service.protection.guard import KEY_HEADER
from worker.queue import JobQueue

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

    @documented(SHOW_REPORT)
    def report(self, job: str) -> Response:
        """What was asked and done, how long it took and what was lost."""
        return jsonify(visible_jobs(self.queue).report(job))

    @documented(SHOW_SCORES)
    def scores(self, job: str) -> Response:
        """Histograms, counts and the least certain images of a job that succeeded."""
        scores = visible_jobs(self.queue).scores(job)
        entries = [_with_thumbnail(job, entry) for entry in scores["uncertain"]]
        return jsonify({**scores, "uncertain": entries})

    @documented(SHOW_IMAGE)
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
