"""GET /v1/jobs/{job}/report, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from service.documents.jobs import UnreadableSchema
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
from service.documents.scores import HistogramSchema
from worker.queue import FORMATS


class ShardsSchema(Members):
    """The work, as the workers' own clocks saw it."""

    seconds = number("Of all together")
    slowest = count("Number of the slowest")
    slowest_seconds = number("That it took")
    # The last one: it hides the function of its name.
    count = count("Units of work", 1)


class AttemptsSchema(Members):
    """How often work was begun; one piece may be more than once."""

    begun = count("At shards, and at the CSV")
    broken_off = count("Of those; an attempt whose process died is not among them")


class ReportSchema(Members):
    """What a job did: as the file report.json beside its CSV."""

    schema = count("Of this object: 2", 1)
    kennel = text("Version of the workers", required=False)
    job = text("Id of the job")
    model = text("The model")
    version = count("Its version", 1)
    label = text(
        "The label that named the version; null: none did",
        required=False,
        allow_none=True,
    )
    positive = text(
        "Label whose probability kaggle-binary has; null: another format",
        required=False,
        allow_none=True,
    )
    label_numbers = texts(
        "Labels whose numbers, from 0, format label has; null: it has names, or another "
        "format",
        allow_none=True,
    )
    labels = texts("In the order of the model's outputs")
    input = text("The folder or the archive")
    format = choice("Form of the CSV", FORMATS)
    clip = number("Upper bound of a probability; null: none", allow_none=True)
    on_unreadable = choice("For images that cannot be decoded", ("prior", "fail"))
    max_unreadable = count("Of them that were allowed", required=False)
    images = count("Images in the folder")
    unreadable = count("Images that cannot be decoded")
    unreadable_files = several(UnreadableSchema)
    ignored = count("Files and folders that are no photos")
    ignored_files = texts("The first hundred of them")
    created = text("When it was submitted, ISO 8601")
    started = text("When work began (again, after a retry), ISO 8601")
    finished = text("ISO 8601")
    queued_seconds = number("From the one to the other", required=False)
    seconds = number("From its start to the CSV")
    images_per_second = number("Images by these seconds")
    shards = fields.Nested(ShardsSchema, required=False)
    attempts = fields.Nested(AttemptsSchema, required=False)
    histogram = fields.Nested(HistogramSchema, required=False)
    predicted = fields.Dict(
        values=fields.Integer(metadata={"minimum": 0}),
        metadata={"description": "Images of which it is the likeliest, by label"},
    )
    card = fields.Dict(
        allow_none=True,
        metadata={
            "description": "The version's model card without its tables; null: not known"
        },
    )
    ids_sha256 = text("Of the ids in the CSV's order, a line each", required=False)
    csv_sha256 = text("Of the CSV")
    results = text("Where copies of CSV and report are", required=False)


_EXAMPLE: Final[dict[str, Any]] = {
    "schema": 2,
    "kennel": "0.1.0",
    "job": "0c5d1c9f5e4b7a21",
    "model": "dogscats",
    "version": 3,
    "label": None,
    "labels": ["cat", "dog"],
    "input": "test",
    "format": "kaggle-binary",
    "positive": "dog",
    "label_numbers": None,
    "clip": 0.985,
    "on_unreadable": "prior",
    "max_unreadable": 2,
    "images": 3,
    "unreadable": 0,
    "unreadable_files": [],
    "ignored": 1,
    "ignored_files": ["readme.md"],
    "created": "2026-11-21T09:30:00.000+00:00",
    "started": "2026-11-21T09:30:00.250+00:00",
    "finished": "2026-11-21T09:30:01.250+00:00",
    "queued_seconds": 0.25,
    "seconds": 1.0,
    "images_per_second": 3.0,
    "shards": {"count": 1, "seconds": 0.75, "slowest": 0, "slowest_seconds": 0.75},
    "attempts": {"begun": 2, "broken_off": 0},
    "histogram": {
        "edges": [0.0, 0.5, 1.0],
        "counts": {"cat": [2, 1], "dog": [1, 2]},
    },
    "predicted": {"cat": 1, "dog": 2},
    "card": {"name": "dogscats", "version": 3, "temperature": 1.3},
    "ids_sha256": "3bd1a3d0...",
    "csv_sha256": "9f86d081...",
}

SHOW_REPORT: Final = Operation(
    summary="Show what a job did, how long it took and what was lost",
    description=(
        "The file report.json of a job that succeeded. Members that are not required "
        "are missing in the reports of older versions (schema 1)."
    ),
    answers=(Answer("The report", (Content(ReportSchema, example=_EXAMPLE),)),),
    errors=(
        *("not_found", "job_not_found", "job_not_finished", "report_not_found"),
        "storage_unavailable",
    ),
)
