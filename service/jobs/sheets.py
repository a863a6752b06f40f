"""The CSV files that come with a job: as files of a form, or named below INPUT_ROOT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO, Final, cast

from flask import Request

from models.errors import InvalidRequestError
from worker.queue import Sheets

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
