"""Jobs and what becomes of them, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from service.documents.members import (
    Members,
    choice,
    count,
    number,
    several,
    text,
    texts,
)
from service.documents.operations import Answer, Content, Operation
from worker.queue import FORMATS, STATES

PRIORITIES: Final = ("high", "normal", "low")


class ProgressSchema(Members):
    """How far a job is."""

    done = count("Images that are finished, the unreadable ones included")
    total = count("Images in the folder")
    unreadable = count("Images that cannot be decoded")


class UnreadableSchema(Members):
    """A file that cannot be decoded."""

    id = text("As in the CSV")
    file = text("Path in the folder")
    code = text("Stable, for programs")
    detail = text("For people")


class JobSchema(Members):
    """A job as its owner sees it."""

    id = text("Id of the job")
    state = choice("What became of it", STATES)
    model = text("The model")
    version = count("Its version, pinned when the job was submitted", 1)
    label = text("The label that named the version; null: none did", allow_none=True)
    input = text(
        "The folder below the input folder that was taken: the one named, or the only one "
        "below it; or `upload:` and an archive's name"
    )
    format = choice("Form of the CSV", FORMATS)
    positive = text(
        "Label whose probability kaggle-binary has; null: another format",
        allow_none=True,
    )
    label_numbers = texts(
        "Labels whose numbers, from 0, format label has; null: it has names, or another "
        "format",
        allow_none=True,
    )
    clip = number("Upper bound of a probability; null: none", allow_none=True)
    max_unreadable = count("Unreadable images with which there is a CSV")
    ignored = count("Files and folders that are no photos; the report names them")
    priority = choice("Which job gets workers first", PRIORITIES)
    progress = fields.Nested(ProgressSchema, required=True)
    images_per_second = number(
        "Of the last minute while it runs; null: unknown", allow_none=True
    )
    eta_seconds = number(
        "Left at that speed, while it runs; null: unknown", allow_none=True
    )
    created = text("ISO 8601")
    finished = text("ISO 8601", allow_none=True)
    owner = text(
        "Name of the API key that submitted it; null: none was asked for",
        allow_none=True,
    )
    error = text("Why it failed", allow_none=True)
    waiting = text(
        "Why its model or its photos keep it waiting; null: nothing does",
        allow_none=True,
    )
    unreadable_files = several(UnreadableSchema)


class JobsSchema(Members):
    """Some of the jobs, newest first."""

    jobs = several(JobSchema)
    next = text("`after` of the next page; null: this is the last", allow_none=True)


_EXAMPLE: Final = {
    "id": "0c5d1c9f5e4b7a21",
    "state": "running",
    "model": "dogscats",
    "version": 3,
    "label": None,
    "input": "test",
    "format": "kaggle-binary",
    "positive": "dog",
    "label_numbers": None,
    "clip": 0.985,
    "max_unreadable": 625,
    "ignored": 1,
    "priority": "normal",
    "progress": {"done": 5120, "total": 12500, "unreadable": 0},
    "images_per_second": 31.5,
    "eta_seconds": 234.3,
    "created": "2026-11-21T09:30:00+00:00",
    "finished": None,
    "owner": None,
    "error": None,
    "waiting": None,
    "unreadable_files": [],
}
QUEUED: Final = {
    **_EXAMPLE,
    "state": "queued",
    "progress": {"done": 0, "total": 12500, "unreadable": 0},
    "images_per_second": None,
    "eta_seconds": None,
}
_UNKNOWN: Final = ("not_found", "job_not_found", "storage_unavailable")


def _job(description: str, example: dict[str, Any]) -> Answer:
    return Answer(description, (Content(JobSchema, example=example),))


LIST_JOBS: Final = Operation(
    summary="List the jobs, a page at a time",
    parameters=("limit", "after", "state", "prefix"),
    answers=(
        Answer(
            "Newest first",
            (Content(JobsSchema, example={"jobs": [_EXAMPLE], "next": None}),),
            headers=("Link",),
        ),
    ),
    errors=("invalid_parameter", "storage_unavailable"),
)

SHOW_JOB: Final = Operation(
    summary="Show a job's state and progress",
    answers=(_job("The job now", _EXAMPLE),),
    errors=_UNKNOWN,
)

DELETE_JOB: Final = Operation(
    summary="Delete a job that is over",
    description=(
        "Its CSV goes too, and the photos that were uploaded for it. Copies "
        "elsewhere stay."
    ),
    answers=(Answer("It is gone", status=204),),
    errors=(*_UNKNOWN, "job_not_over"),
)

CANCEL_JOB: Final = Operation(
    summary="End a job without a CSV",
    answers=(_job("The job, cancelled", {**_EXAMPLE, "state": "cancelled"}),),
    errors=(*_UNKNOWN, "job_finished"),
)

RETRY_JOB: Final = Operation(
    summary="Let a failed or cancelled job go on",
    answers=(_job("The job, queued again", QUEUED),),
    errors=(*_UNKNOWN, "job_not_retryable", "queue_unavailable"),
)

FETCH_SUBMISSION: Final = Operation(
    summary="Fetch the finished CSV",
    parameters=("If-None-Match",),
    answers=(
        Answer(
            "The CSV",
            (Content({"type": "string"}, "text/csv", "id,label\n1,0.985\n2,0.015\n"),),
            headers=("ETag",),
        ),
        Answer("The client has this CSV already", status=304, headers=("ETag",)),
    ),
    errors=(*_UNKNOWN, "job_not_finished"),
)
