"""Every ``code`` of an error answer, and what it means to the one who reads it.

The statuses are those of service/http/problems.py: this table knows only the class that
carries a code.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from models.errors import (
    ConflictError,
    InvalidImageError,
    InvalidRequestError,
    KennelError,
    MissingSignatureError,
    ModelContractError,
    ModelOverloadedError,
    ModelTimeoutError,
    ModelUnavailableError,
    NotFoundError,
    QueueUnavailableError,
    StorageFullError,
    StorageUnavailableError,
)
from models.images.formats import FORMAT_NAMES
from service.http.problems import status_of


@dataclass(frozen=True)
class ErrorCode:
    """The class of the errors with one code, and a sentence about them."""

    kind: type[KennelError]
    meaning: str


CODES: Final = {
    "bad_request": ErrorCode(InvalidRequestError, "the body cannot be read"),
    "no_image": ErrorCode(InvalidRequestError, "the request holds no image"),
    "unknown_signature": ErrorCode(
        InvalidRequestError, "the model has no signature of that name"
    ),
    "not_found": ErrorCode(NotFoundError, "there is nothing at this path"),
    "model_not_found": ErrorCode(NotFoundError, "there is no model of that name"),
    "version_not_found": ErrorCode(NotFoundError, "the model has no such version"),
    "label_not_found": ErrorCode(NotFoundError, "no version has that label"),
    "rollout_not_found": ErrorCode(NotFoundError, "the model has no rollout"),
    "job_not_found": ErrorCode(NotFoundError, "there is no job of that id"),
    "method_not_allowed": ErrorCode(
        InvalidRequestError, "the path has other methods: see Allow"
    ),
    "report_not_found": ErrorCode(
        NotFoundError, "the version or the job has no report"
    ),
    "unauthenticated": ErrorCode(KennelError, "this needs a valid API key"),
    "forbidden": ErrorCode(
        KennelError, "the key lacks the scope for this, or another site's page sent it"
    ),
    "misdirected_request": ErrorCode(
        KennelError, "the service is not called by this Host"
    ),
    "rate_limited": ErrorCode(KennelError, "the key's quota is used up for now"),
    "client_gone": ErrorCode(
        KennelError, "the client closed the connection: only logs and metrics show it"
    ),
    "request_timeout": ErrorCode(KennelError, "the request arrived too slowly"),
    "not_implemented": ErrorCode(
        MissingSignatureError, "the version was exported without this"
    ),
    "image_not_found": ErrorCode(NotFoundError, "the job has no such image to show"),
    "scores_not_found": ErrorCode(NotFoundError, "a part of the job's result is lost"),
    "job_finished": ErrorCode(ConflictError, "a job that has ended stays as it is"),
    "job_not_finished": ErrorCode(ConflictError, "the job has not succeeded (yet)"),
    "job_not_over": ErrorCode(
        ConflictError, "a job that is queued or running has to be cancelled first"
    ),
    "job_not_retryable": ErrorCode(
        ConflictError, "only failed or cancelled jobs go on"
    ),
    "idempotency_conflict": ErrorCode(
        ConflictError, "the key was used for another request"
    ),
    "too_large": ErrorCode(InvalidRequestError, "the body or an image is too large"),
    "too_many_images": ErrorCode(InvalidRequestError, "too many images in one request"),
    "too_many_pixels": ErrorCode(InvalidImageError, "an image has too many pixels"),
    "unsupported_media_type": ErrorCode(
        InvalidRequestError, "the Content-Type or Content-Encoding is not read here"
    ),
    "invalid_parameter": ErrorCode(
        InvalidRequestError, "a parameter, header or member cannot be used"
    ),
    "invalid_input": ErrorCode(
        InvalidRequestError, "the folder or a CSV file cannot be used"
    ),
    "invalid_archive": ErrorCode(
        InvalidRequestError, "the archive is damaged, hostile or holds no photos"
    ),
    "undecodable_image": ErrorCode(InvalidImageError, "an image is damaged"),
    "unsupported_image": ErrorCode(InvalidImageError, f"no {FORMAT_NAMES}"),
    "too_complex": ErrorCode(
        InvalidImageError, "to decode an image takes too much time or memory"
    ),
    "breaks_decoder": ErrorCode(InvalidImageError, "an image crashes its decoder"),
    "empty_image": ErrorCode(InvalidImageError, "an image has no bytes"),
    "invalid_base64": ErrorCode(InvalidImageError, "a text is not base64"),
    "internal": ErrorCode(KennelError, "something failed here; the log has the rest"),
    "bad_upstream_reply": ErrorCode(
        ModelContractError, "the model server's answer cannot be used"
    ),
    "model_not_ready": ErrorCode(ModelUnavailableError, "the model cannot answer now"),
    "overloaded": ErrorCode(ModelOverloadedError, "too much is in work already"),
    "insufficient_storage": ErrorCode(StorageFullError, "the disk has no room for it"),
    "queue_unavailable": ErrorCode(QueueUnavailableError, "no job can be queued now"),
    "storage_unavailable": ErrorCode(
        StorageUnavailableError, "files of photos or jobs cannot be used now"
    ),
    "deadline_exceeded": ErrorCode(
        ModelTimeoutError, "the answer took longer than the request allows"
    ),
}

SERVER_CODES: Final = (
    *("model_not_ready", "overloaded"),
    *("bad_upstream_reply", "deadline_exceeded"),
)
"""Whatever asks the model server may end so."""

MODEL_CODES: Final = (
    *("model_not_found", "version_not_found", "label_not_found"),
    *SERVER_CODES,
)
"""Whatever asks it about a model that the request chooses may end so."""

IMAGE_CODES: Final = (
    *("undecodable_image", "unsupported_image", "empty_image"),
    *("too_large", "too_many_pixels", "too_complex", "breaks_decoder"),
)
"""Whatever decodes images may end so."""


def status(code: str) -> int:
    """The HTTP status that an error of *code* is answered with."""
    return status_of(CODES[code].kind("", code=code))


def by_status(codes: tuple[str, ...]) -> dict[int, list[str]]:
    """*codes*, each once, by their statuses in ascending order."""
    found: dict[int, list[str]] = {}
    for code in sorted(dict.fromkeys(codes), key=status):
        found.setdefault(status(code), []).append(code)
    return found


def example(code: str) -> dict[str, Any]:
    """A problem with *code* as a client sees it."""
    number = status(code)
    return {
        "type": "about:blank",
        "title": HTTPStatus(number).phrase,
        "status": number,
        "detail": CODES[code].meaning,
        "instance": "/v1/...",
        "code": code,
        "request_id": "6fb2a4c0d1e94b0f9d3a6a1f0c7e5b21",
    }


def table() -> str:
    """All codes as a Markdown table."""
    rows = [
        f"| {number} | `{code}` | {CODES[code].meaning} |"
        for number, codes in by_status(tuple(CODES)).items()
        for code in codes
    ]
    return "\n".join(["| status | code | meaning |", "|---|---|---|", *rows])
