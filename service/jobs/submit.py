"""POST /v1/jobs: read the request for a folder job, and queue the job.

The images are in a folder below INPUT_ROOT, or in an uploaded archive. During the upload the
archive is an unnamed file on the disk of the runs, which the system removes with the process
that holds it: a broken upload or a killed process leaves nothing to clean up.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from flask import Request

from models.contract import ModelCard
from models.errors import InvalidRequestError, ModelOverloadedError, quoted
from models.files import explained_full_disk
from models.probabilities import check_clip_bound, parse_clip
from models.wire.messages import ModelRef
from service.auth.guard import sender_name, shown_key
from service.http.budget import Budget, read_budget
from service.http.errors import BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE
from service.http.multipart import UploadRequest
from service.http.parameters import once_each
from service.predict.bodies import check_one_field, parse_body
from service.predict.catalog import Catalog, read_model
from worker.queue import BY_DEFAULT, JobQueue, JobRequest, JobStatus, Sheets

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
MAX_JSON_BYTES: Final = 64 * 1024
MULTIPART: Final = "multipart/form-data"
ARCHIVE_FIELD: Final = "archive"
ARCHIVE_MEDIA_TYPES: Final = (
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
)
CSV_FILES: Final = ("manifest", "sample_submission")
"""CSV files of a job: uploaded in a form, or named below INPUT_ROOT by a member."""

MEMBERS: Final = (
    *("model", "version", "label", "input"),
    *("format", "clip", "on_unreadable", "max_unreadable", "positive", "priority"),
    *CSV_FILES,
)
_TEXTS: Final = frozenset(MEMBERS) - {"clip", "version", "max_unreadable"}

_VISIBLE: Final = re.compile(r"[\x21-\x7e]{1,200}")
_CHUNK_BYTES: Final = 1024 * 1024
_MAX_NAME: Final = 100
_HOW: Final = (
    f"send one zip, tar or tar.gz in the form field {ARCHIVE_FIELD!r} "
    f"(curl -F {ARCHIVE_FIELD}=@FILE) or as the body"
)


@dataclass(frozen=True)
class JobSubmitter:
    """Reads requests for folder jobs and queues the jobs.

    Attributes:
        timeout_seconds: for requests that set no timeout of their own.
    """

    catalog: Catalog
    queue: JobQueue
    uploads: ArchiveUploads
    timeout_seconds: float

    def submit(self, request: Request) -> JobStatus:
        """The queued job of *request*, pinned to the version that is served now.

        Raises:
            KennelError: the request, its model, its images or the queue cannot be used.
            HTTPException: the body is too large, or cannot be read.
        """
        key = _idempotency_key(request)
        if request.mimetype in {MULTIPART, *ARCHIVE_MEDIA_TYPES}:
            return self._submit_upload(request, key)
        request.max_content_length = MAX_JSON_BYTES
        members = _read_json(request)
        job = self._read_job(request, members)
        return self.queue.submit(job, key, _read_csv_files(members, request))

    def _submit_upload(self, request: Request, key: str | None) -> JobStatus:
        # The photos are unpacked beside the archive and take about as much room.
        self.queue.check_room(2 * (request.content_length or 0))
        with self.uploads.receiving(request, sender_name()):
            members = _read_members(request)
            csv_files = _read_csv_files(members, request)
            if _names_folder(request):
                job = self._read_job(request, members)
                return self.queue.submit(job, key, csv_files)
            named = members.get("input")
            # Before the archive arrives: a mistake should not cost an upload.
            job = self._read_job(request, {**members, "input": named or "archive"})
            with self.uploads.archive(request) as (name, archive):
                job = dataclasses.replace(job, input=input_name(named or name))
                return self.queue.submit_archive(job, archive, key, csv_files)

    def _read_job(self, request: Request, members: Any) -> JobRequest:
        budget = read_budget(request.headers, self.timeout_seconds)
        return _job_request(members, self.catalog, budget)


class ArchiveUploads:
    """Receives archives, a few at a time; thread-safe."""

    def __init__(self, folder: Path, max_bytes: int, at_once: int = 4) -> None:
        """Keep what arrives on the disk of *folder*; refuse more than *max_bytes*.

        A thread that receives an upload serves no other request, hence *at_once*; one
        sender may use all of these slots but one.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._at_once = at_once
        self._senders: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def receiving(self, request: Request, sender: str = "") -> Iterator[None]:
        """In the block, let *request* of *sender* be as large as an archive may be.

        Raises:
            ModelOverloadedError: too many archives arrive already, in all or from
                *sender*.
        """
        self._count_in(sender)
        try:
            request.max_content_length = self._max_bytes
            cast("UploadRequest", request).spool_folder = self._folder
            self._folder.mkdir(parents=True, exist_ok=True)
            with explained_full_disk("RUNS_DIR"):
                yield
        finally:
            with self._lock:
                self._senders[sender] -= 1
                # Forget senders whose count is 0.
                self._senders += Counter()

    @contextmanager
    def archive(self, request: Request) -> Iterator[tuple[str, BinaryIO]]:
        """The file name of the archive, and its content as a seekable file.

        Raises:
            InvalidRequestError: there is none, or more than one.
            HTTPException: the request is too large, or broke off.
        """
        if request.mimetype == MULTIPART:
            yield _archive_of_form(request)
            return
        with tempfile.TemporaryFile(dir=self._folder) as spooled:
            shutil.copyfileobj(request.stream, spooled, _CHUNK_BYTES)
            yield "", cast("BinaryIO", spooled)

    def _count_in(self, sender: str) -> None:
        with self._lock:
            most = max(1, self._at_once - 1)
            full = self._senders.total() >= self._at_once
            if full or self._senders[sender] >= most:
                message = "too many archives are arriving at the moment: try again"
                raise ModelOverloadedError(message)
            self._senders[sender] += 1


def input_name(name: str) -> str:
    """The input that is shown for a job whose upload its sender called *name*."""
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(letter for letter in last if letter.isprintable())
    return f"upload:{shown[:_MAX_NAME] or 'archive'}"


def _job_request(body: Any, catalog: Catalog, budget: Budget) -> JobRequest:
    given = _check_members(body)
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
        preprocessing=card.preprocessing,
        batch_invariant=card.batch_invariant,
        input=given["input"],
        clip=_clip(given.get("clip"), card),
        max_unreadable=_max_unreadable(given.get("max_unreadable")),
        pin=_pin(model, is_named="model" in given),
        card=card,
        owner=key.name if key else None,
        **options,
    )


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is not None and not _VISIBLE.fullmatch(key):
        message = f"{IDEMPOTENCY_HEADER}: use 1 to 200 visible ASCII characters"
        raise InvalidRequestError(message)
    return key


def _read_json(request: Request) -> Any:
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


def _read_members(request: Request) -> dict[str, str]:
    # Beside an archive: fields of its form, or the query of a request that is the archive.
    if request.mimetype != MULTIPART:
        return once_each(request.args)
    if request.args:
        raise InvalidRequestError("send members as form fields, not in the query")
    _check_files(request)
    if ARCHIVE_FIELD in request.form:
        check_one_field(request, ARCHIVE_FIELD, _HOW, code=BAD_REQUEST)
    return once_each(request.form)


def _check_files(request: Request) -> None:
    for name in request.files:
        if name not in {ARCHIVE_FIELD, *CSV_FILES}:
            known = ", ".join(CSV_FILES)
            message = (
                f"unknown file field {quoted(name)}: {_HOW}; CSV files are {known}"
            )
            raise InvalidRequestError(message, code=BAD_REQUEST)


def _names_folder(request: Request) -> bool:
    is_form = request.mimetype == MULTIPART
    return is_form and ARCHIVE_FIELD not in request.files and "input" in request.form


def _archive_of_form(request: Request) -> tuple[str, BinaryIO]:
    check_one_field(request, ARCHIVE_FIELD, _HOW, code=BAD_REQUEST)
    files = request.files.getlist(ARCHIVE_FIELD)
    if len(files) != 1:
        message = f"{len(files)} files in the field {ARCHIVE_FIELD!r}: {_HOW}"
        raise InvalidRequestError(message, code=BAD_REQUEST)
    return files[0].filename or "", cast("BinaryIO", files[0].stream)


def _read_csv_files(given: Mapping[str, Any], request: Request) -> Sheets:
    manifest, sample = (_read_csv_file(name, given, request) for name in CSV_FILES)
    return Sheets(manifest, sample, decide_format=given.get("format") is None)


def _read_csv_file(
    name: str, given: Mapping[str, Any], request: Request
) -> str | BinaryIO | None:
    named: str | None = given.get(name)
    # Only in a form: looking for files in another body would consume its stream.
    is_form = request.mimetype == MULTIPART
    sent = request.files.getlist(name) if is_form else []
    if len(sent) + (named is not None) > 1:
        raise InvalidRequestError(f"{name!r} is there twice: send it once")
    return cast("BinaryIO", sent[0].stream) if sent else named


def _check_members(body: Any) -> dict[str, Any]:
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
    # As text: JobRequest decides whether it is a share or a count.
    if isinstance(value, bool | list | dict):
        raise InvalidRequestError(
            f"max_unreadable={quoted(value)} is neither a share nor a count"
        )
    return None if value is None else str(value)


def _clip(value: Any, card: ModelCard) -> float | None:
    bound = parse_clip(None if value is None else str(value), card.clip_bound)
    if bound is not None:
        check_clip_bound(bound, len(card.labels))
    return bound
