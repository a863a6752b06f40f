"""An archive in the body of POST /v1/jobs: multipart, or the body itself.

It goes to a nameless file on the disk of the runs while it comes in. Such a file is gone
with whoever holds it: an upload that breaks off, or a process that is killed, leaves
nothing to clean up.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from flask import Request

from models.errors import (
    InvalidRequestError,
    ModelOverloadedError,
    quoted,
)
from models.files import explained_full_disk
from service.jobs.sheets import MULTIPART, SHEETS
from service.once_each import once_each
from service.predictions.uploads import check_one_field
from service.upload_request import BAD_REQUEST, UploadRequest

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
