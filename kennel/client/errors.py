"""Errors of a client: what the API refuses, and answers that do not come.

ApiError                   the API refused; ``status`` and ``code`` say why
|-- ApiAccessError         401 and 403: no key, an unknown one, or one without the scope
|-- ApiBusyError           429, 502, 503 and 504: the same call may succeed later
|-- ApiUnreachableError    no answer (status 0)
|   `-- ApiTimeoutError    no answer in time; the API may have acted all the same
`-- JobFailedError         a job that was waited for ended without a CSV
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from kennel.client.answers import ImageProblem, Job
from models.errors import KennelError, quoted
from models.files import parse_json

TOO_SLOW: Final = 504
BUSY: Final = frozenset({429, 502, 503, TOO_SLOW})
ACCESS: Final = frozenset({401, 403})

_LONGEST_RETRY_AFTER: Final = 24 * 3600
_TITLE: Final = re.compile(
    r"<title[^>]*>\s*(.*?)\s*</title>", re.DOTALL | re.IGNORECASE
)
_KEY_REMEDY: Final = " (set KENNEL_API_KEY, or use --key)"


class ApiError(KennelError):
    """The API answered with a problem, or not at all.

    Attributes:
        status: HTTP status; 0 without an answer.
        code: the API's stable name of the problem.
        request_id: the request's id in the API's log; empty if not known.
        errors: the problem of each image, if images are the reason.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        code: str = "api_error",
        *,
        request_id: str = "",
        errors: tuple[ImageProblem, ...] = (),
    ) -> None:
        """Keep what the API said beside the message for people."""
        super().__init__(message, code=code)
        self.status = status
        self.request_id = request_id
        self.errors = errors


class ApiAccessError(ApiError):
    """The API key is missing, unknown, or lacks the scope."""


class ApiBusyError(ApiError):
    """The API, or the model server or Redis behind it, cannot answer now.

    Attributes:
        retry_after_seconds: the pause that the API asks for; 0: none.
    """

    retry_after_seconds: float = 0.0


class ApiUnreachableError(ApiError):
    """There is no API, or the connection broke.

    Attributes:
        sent: whether the API may have got the request.
    """

    sent: bool = False


class ApiTimeoutError(ApiUnreachableError):
    """The answer did not come in time; the API may have acted all the same."""

    sent = True


class JobFailedError(ApiError):
    """A job failed or was cancelled; ``job`` is its last status."""

    def __init__(self, job: Job) -> None:
        """Say why *job* ended."""
        reason = job.error or "no reason is known"
        super().__init__(f"job {job.id} {job.state}: {reason}", code=f"job_{job.state}")
        self.job = job


def read_problem(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error for an answer with the error *status*."""
    kind = ApiError
    if status in ACCESS:
        kind = ApiAccessError
    elif status in BUSY:
        kind = ApiBusyError
    error = _read(kind, status, body) or _foreign(kind, status, headers, body)
    if isinstance(error, ApiBusyError):
        error.retry_after_seconds = _seconds(headers.get("Retry-After", ""))
    return error


def problem_of(name: str, error: KennelError) -> ImageProblem:
    """The problem of the image called *name*, whose request ended with *error*."""
    return ImageProblem(name, error.code, str(error))


def shown_body(body: bytes) -> str:
    """The beginning of a body that is not the API's; of an HTML page its title."""
    text = body.decode(errors="replace")
    title = _TITLE.search(text)
    return f"a page called {quoted(title[1])}" if title else quoted(text)


def _read(kind: type[ApiError], status: int, body: bytes) -> ApiError | None:
    try:
        problem = parse_json(body)
        detail, code = str(problem["detail"]), str(problem["code"])
        errors = tuple(_image_problem(each) for each in problem.get("errors", ()))
        request_id = str(problem.get("request_id", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if kind is ApiAccessError:
        detail += _KEY_REMEDY
    files = [f"{each.name or 'image'}: {each.detail}" for each in errors]
    message = "\n  ".join([detail, *files])
    return kind(message, status, code, request_id=request_id, errors=errors)


def _foreign(
    kind: type[ApiError], status: int, headers: Mapping[str, str], body: bytes
) -> ApiError:
    message = f"the address answered {status}, but not as a Kennel API does: "
    place = headers.get("Location", "") if 300 <= status < 400 else ""
    message += f"it redirects to {quoted(place)}" if place else shown_body(body)
    remedy = _KEY_REMEDY if kind is ApiAccessError else ""
    return kind(f"{message}; check the address{remedy}", status)


def _image_problem(content: Mapping[str, Any]) -> ImageProblem:
    return ImageProblem(content["name"], content["code"], content["detail"])


def _seconds(text: str) -> float:
    # This API never sends the other form, a date.
    return min(float(text), _LONGEST_RETRY_AFTER) if text.isdecimal() else 0.0
