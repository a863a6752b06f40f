"""POST /v1/jobs read: the members of its body, an archive of photos, CSV files.

An archive goes to a nameless file on the disk of the runs while it comes in. Such a file
is gone with whoever holds it: an upload that breaks off, or a process that is killed,
leaves nothing to clean up.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from flask import Request

from models.contract import ModelCard
from models.errors import (
    InvalidRequestError,
    ModelOverloadedError,
    quoted,
)
from models.files import explained_full_disk
from models.probabilities import check_clip_bound, parse_clip
from models.wire.messages import ModelRef
from service.auth.guard import shown_key
from service.http.budget import Budget
from service.http.multipart import BAD_REQUEST, UploadRequest
from service.http.parameters import once_each
from service.predict.bodies import UNSUPPORTED_MEDIA_TYPE, check_one_field, parse_body
from service.predict.catalog import Catalog
from service.predict.views import read_model
from worker.queue import BY_DEFAULT, JobRequest, Sheets

ARCHIVE_FIELD: Final = "archive"
ARCHIVE_TYPES: Final = (
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
)

_CHUNK_BYTES: Final = 1024 * 1024
_MAX_NAME: Final = 100
_HOW: Final = (
    f"send one zip, tar or tar.gz in the form field {ARCHIVE_FIELD!r} "
    f"(curl -F {ARCHIVE_FIELD}=@FILE) or as the body"
)


class ArchiveUploads:
    """Takes archives in, a few at a time; thread-safe."""

    def __init__(self, folder: Path, max_bytes: int, at_once: int = 4) -> None:
        """Keep what comes in on the disk of *folder*; refuse more than *max_bytes*.

        Threads that wait for uploads answer nobody else, hence *at_once*; one sender
        leaves one of these places to the others.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._at_once = at_once
        self._senders: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def taking(self, request: Request, sender: str = "") -> Iterator[None]:
        """Let *request*, which is *sender*'s, send as much as an archive may have.

        Raises:
            ModelOverloadedError: as many are coming in already as may, of all or of
                *sender*.
        """
        self._take_place(sender)
        try:
            request.max_content_length = self._max_bytes
            cast("UploadRequest", request).spool_folder = self._folder
            self._folder.mkdir(parents=True, exist_ok=True)
            with explained_full_disk("RUNS_DIR"):
                yield
        finally:
            with self._lock:
                self._senders[sender] -= 1
                # Keeps no sender's name for ever.
                self._senders += Counter()

    def members(self, request: Request) -> dict[str, str]:
        """What the form or the query says beside the archive; a form is then read.

        Raises:
            InvalidRequestError: a member is there twice, or a file of no use.
            HTTPException: the request is too large, or broke off.
        """
        form = request.mimetype == MULTIPART
        if form and request.args:
            raise InvalidRequestError("send members as form fields, not in the query")
        if form:
            _check_files(request)
        if form and ARCHIVE_FIELD in request.form:
            check_one_field(request, ARCHIVE_FIELD, _HOW, code=BAD_REQUEST)
        return once_each(request.form if form else request.args)

    @contextmanager
    def archive(self, request: Request) -> Iterator[tuple[str, BinaryIO]]:
        """The file's own name, and its content, which can be sought.

        Raises:
            InvalidRequestError: there is none, or more than one.
            HTTPException: the request is too large, or broke off.
        """
        if request.mimetype == MULTIPART:
            yield _from_form(request)
            return
        with tempfile.TemporaryFile(dir=self._folder) as spooled:
            shutil.copyfileobj(request.stream, spooled, _CHUNK_BYTES)
            yield "", cast("BinaryIO", spooled)

    def _take_place(self, sender: str) -> None:
        with self._lock:
            most = max(1, self._at_once - 1)
            full = self._senders.total() >= self._at_once
            if full or self._senders[sender] >= most:
                message = "too many archives are coming in at the moment: try again"
                raise ModelOverloadedError(message)
            self._senders[sender] += 1


def holds_archive(request: Request) -> bool:
    """Whether the body's type says that there is an archive in *request*."""
    return request.mimetype in {MULTIPART, *ARCHIVE_TYPES}


def names_folder(request: Request) -> bool:
    """Whether a form names a folder instead of bringing an archive.

    Raises:
        HTTPException: the form cannot be read.
    """
    is_form = request.mimetype == MULTIPART
    return is_form and ARCHIVE_FIELD not in request.files and "input" in request.form


def input_name(name: str) -> str:
    """What a job's status calls an upload, from the *name* that its sender gave."""
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(letter for letter in last if letter.isprintable())
    return f"upload:{shown[:_MAX_NAME] or 'archive'}"


def _from_form(request: Request) -> tuple[str, BinaryIO]:
    check_one_field(request, ARCHIVE_FIELD, _HOW, code=BAD_REQUEST)
    files = request.files.getlist(ARCHIVE_FIELD)
    if len(files) != 1:
        message = f"{len(files)} files in the field {ARCHIVE_FIELD!r}: {_HOW}"
        raise InvalidRequestError(message, code=BAD_REQUEST)
    return files[0].filename or "", cast("BinaryIO", files[0].stream)


def _check_files(request: Request) -> None:
    for name in request.files:
        if name not in {ARCHIVE_FIELD, *SHEETS}:
            known = ", ".join(SHEETS)
            message = (
                f"unknown file field {quoted(name)}: {_HOW}; CSV files are {known}"
            )
            raise InvalidRequestError(message, code=BAD_REQUEST)


MULTIPART: Final = "multipart/form-data"
SHEETS: Final = ("manifest", "sample_submission")


def read_sheets(given: Mapping[str, Any], request: Request) -> Sheets:
    """The CSV files of a job with the members *given*.

    A text is the path of a file below INPUT_ROOT; a form may bring the file itself.

    Raises:
        InvalidRequestError: one is there twice.
        HTTPException: the form cannot be read.
    """
    manifest, sample = (_read_sheet(name, given, request) for name in SHEETS)
    return Sheets(manifest, sample, decide_format=given.get("format") is None)


def _read_sheet(
    name: str, given: Mapping[str, Any], request: Request
) -> str | BinaryIO | None:
    named: str | None = given.get(name)
    # Only then: to look for files in another body would take its stream.
    is_form = request.mimetype == MULTIPART
    brought = request.files.getlist(name) if is_form else []
    if len(brought) + (named is not None) > 1:
        raise InvalidRequestError(f"{name!r} is there twice: send it once")
    return cast("BinaryIO", brought[0].stream) if brought else named


MEMBERS: Final = (
    *("model", "version", "label", "input"),
    *("format", "clip", "on_unreadable", "max_unreadable", "positive", "priority"),
    *SHEETS,
)
_TEXTS: Final = frozenset(MEMBERS) - {"clip", "version", "max_unreadable"}


def read_json(request: Request) -> Any:
    """What the JSON body of *request* says.

    Raises:
        InvalidRequestError: it is no JSON.
        HTTPException: it is above the request's limit.
    """
    if not request.is_json:
        given = request.mimetype
        message = (
            f"{f'Content-Type {quoted(given)}' if given else 'no Content-Type'}: send "
            "application/json (curl -d: add -H 'Content-Type: application/json'), or an "
            "archive as multipart/form-data, application/zip, application/x-tar or "
            "application/gzip"
        )
        raise InvalidRequestError(message, code=UNSUPPORTED_MEDIA_TYPE)
    return parse_body(request.get_data())


def read_job_request(body: Any, catalog: Catalog, budget: Budget) -> JobRequest:
    """The job that *body* asks for, pinned to the version that serves the model now.

    Raises:
        InvalidRequestError: not such an object; the message names the member.
        NotFoundError, ModelUnavailableError: the model cannot be asked.
        ModelContractError: the model does not describe itself.
    """
    given = _members(body)
    if "input" not in given:
        raise InvalidRequestError(
            "input is missing: name a folder below the input folder"
        )
    model = read_model(_selectors(given), catalog)
    card = catalog.describe(model, budget.left())
    options = {
        member: given[member]
        for member in ("format", "on_unreadable", "positive", "priority")
        if member in given
    }
    key = shown_key()
    return JobRequest(
        model=model.name,
        version=card.version,
        labels=card.labels,
        image_size=card.image_size,
        input=given["input"],
        clip=_clip(given.get("clip"), card),
        max_unreadable=_max_unreadable(given.get("max_unreadable")),
        pin=_pin(model, is_named="model" in given),
        card=card,
        owner=key.name if key else None,
        **options,
    )


def _members(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidRequestError("the body is not a JSON object")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name not in MEMBERS:
            known = ", ".join(MEMBERS)
            raise InvalidRequestError(
                f"unknown member {quoted(name)}: known are {known}"
            )
        if name in _TEXTS and not isinstance(value, str):
            raise InvalidRequestError(f"{name}={quoted(value)} is not a text")
    return given


def _selectors(given: dict[str, Any]) -> dict[str, str]:
    version = given.get("version")
    if isinstance(version, bool | float | list | dict):
        raise InvalidRequestError(f"version={quoted(version)} is not a whole number")
    names = ("model", "version", "label")
    return {name: str(given[name]) for name in names if name in given}


def _pin(model: ModelRef, *, is_named: bool) -> str | None:
    if model.version is not None:
        return f"version={model.version}"
    if model.label is not None:
        return f"label={model.label}"
    return None if is_named else BY_DEFAULT


def _max_unreadable(value: Any) -> str | None:
    # 0.05 could be meant for a share: JobRequest says what can be said.
    if isinstance(value, bool | list | dict):
        raise InvalidRequestError(
            f"max_unreadable={quoted(value)} is no share and no count"
        )
    return None if value is None else str(value)


def _clip(value: Any, card: ModelCard) -> float | None:
    bound = parse_clip(None if value is None else str(value), card.clip_bound)
    if bound is not None:
        check_clip_bound(bound, len(card.labels))
    return bound
