"""Every error of the project, in the order of the data flow.

KennelError                     an error with a message for users
|-- InvalidImageError           bytes -> pixels: the image's sender can correct it
|   `-- MissingImageError       there is no file of that name
|-- InvalidRequestError         a parameter, path or file name that cannot be used
|-- DatasetError                labelled photos that cannot be trained on
|-- NotFoundError               no such model, version, label or job
|-- ConflictError               not in this state (a result that is not there yet)
|-- ModelUnavailableError       pixels -> probabilities: not now, try again
|   |-- ModelOverloadedError    the model server sheds load
|   |-- ModelTimeoutError       the deadline passed
|   `-- MixedBatchError         a shared batch held images of two sizes
|-- ModelContractError          the model server's answer breaks the contract
|   `-- MissingSignatureError   the version was exported without the signature
|-- QueueUnavailableError       probabilities -> CSV: Redis cannot be reached
|-- StorageUnavailableError     the files of photos, jobs or results cannot be used now
`-- StorageFullError            no room on the disk for an upload or a job

Each carries a stable ``code`` for machines; the message names the value and the remedy.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable
from typing import Final, TypeVar


class KennelError(Exception):
    """Base of every error whose message is meant for users.

    Attributes:
        code: stable and documented; the HTTP API puts it into its answers.
        visitor_message: shown to clients of the API instead of a message with addresses,
            paths, settings or another program's words; empty if the message has none.
    """

    code = "internal"
    visitor_message = ""

    def __init__(
        self, message: str, *, code: str | None = None, visitor_message: str = ""
    ) -> None:
        """Keep *message*; *code* and *visitor_message* override the class's own."""
        super().__init__(message)
        if code is not None:
            self.code = code
        if visitor_message:
            self.visitor_message = visitor_message

    @property
    def public(self) -> str:
        """The message for clients of the API."""
        return self.visitor_message or str(self)


_Error = TypeVar("_Error", bound=KennelError)


def detached(error: _Error) -> _Error:
    """A copy of *error* without its traceback, to be kept as a result.

    A traceback holds the frames that the error passed, and with them images. A result that
    is kept in one of these frames is a cycle, which stays in memory until the garbage
    collector runs.
    """
    copy = type(error)(str(error), code=error.code)
    copy.visitor_message = error.visitor_message
    return copy


class InvalidImageError(KennelError):
    """The bytes are not an image that can be decoded within the limits."""

    code = "undecodable_image"


class MissingImageError(InvalidImageError):
    """There is no file of that name; perhaps its whole folder is missing."""

    code = "unreadable_file"


class InvalidRequestError(KennelError):
    """A parameter, path or file is out of bounds; the sender can correct it."""

    code = "invalid_parameter"


class DatasetError(KennelError):
    """The labelled photos, the split or the weights do not fit together."""

    code = "invalid_dataset"


class NotFoundError(KennelError):
    """There is no model, version, label or job of that name."""

    code = "not_found"


class ConflictError(KennelError):
    """The model, run or job exists, but its present state does not allow the request."""

    code = "conflict"


class ModelUnavailableError(KennelError):
    """The model server cannot answer now; the same call may succeed later."""

    code = "model_not_ready"


class ModelOverloadedError(ModelUnavailableError):
    """The model server's queue is full."""

    code = "overloaded"


class ModelTimeoutError(ModelUnavailableError):
    """The deadline passed before the model server answered."""

    code = "deadline_exceeded"


class MixedBatchError(ModelUnavailableError):
    """The model server merged requests with images of two sizes into one batch.

    All requests of such a batch fail, also those whose images have the right size. It
    happens while a version with another image size takes over: some clients still send
    the old size. Read the model's card for the current image size, then try again.
    """


class ModelContractError(KennelError):
    """The model server answered with something that the contract does not allow."""

    code = "bad_upstream_reply"


class MissingSignatureError(ModelContractError):
    """The version of the model has no such signature; exporting it again may add it."""


class QueueUnavailableError(KennelError):
    """Redis cannot be reached, so no job can be queued."""

    code = "queue_unavailable"
    visitor_message = (
        "no job can be queued or shown now: try again later, or tell the operator, whose "
        "log has the details"
    )


class StorageUnavailableError(KennelError):
    """Files cannot be read or written now; the same call may succeed later."""

    code = "storage_unavailable"


class StorageFullError(KennelError):
    """The disk has no room for an upload or a job; nothing of it is kept."""

    code = "insufficient_storage"
    visitor_message = (
        "the service's disk has no room for this now, and nothing of it was kept: delete "
        "jobs that are over, or try again later"
    )


LONGEST_QUOTE: Final = 80
_MOST_NAMES: Final = 5


def quoted(value: object) -> str:
    """The first 80 characters of *value* for a message: text and bytes in quotes, anything
    else as JSON.

    For all input from outside: a name of 60 MB must not be echoed or fill the log.
    """
    if isinstance(value, str | bytes):
        rest = "..." if len(value) > LONGEST_QUOTE else ""
        return repr(value[:LONGEST_QUOTE]).removeprefix("b") + rest
    text = _SHORT.repr(value)
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "..."


def quoted_names(names: Iterable[object]) -> str:
    """The first few of *names*, quoted, and the number of the others."""
    listed = list(names)
    more = len(listed) - _MOST_NAMES
    shown = ", ".join(map(quoted, listed[:_MOST_NAMES]))
    return f"{shown} and {more:,} more" if more > 0 else shown or "none"


class _ShortJson(reprlib.Repr):
    # Looked up by the name of the value's type.
    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802
        return "null"

    def repr_str(self, value: str, level: int) -> str:
        text = json.dumps(value[: self.maxstring], ensure_ascii=False)
        return text if text.isprintable() else json.dumps(value[: self.maxstring])

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"


_SHORT: Final = _ShortJson()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict = 2, 4, 4
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = LONGEST_QUOTE
