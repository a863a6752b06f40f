"""GET /v1/jobs/{job}/scores and /images/{image}, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from service.documents.members import Members, by_label, count, several, text, texts
from service.documents.operations import Answer, Content, Operation

_COUNTS: Final = fields.List(fields.Integer(metadata={"minimum": 0}))


class HistogramSchema(Members):
    """How often each label got which probability, before clipping."""

    edges = fields.List(
        fields.Float(),
        required=True,
        metadata={"description": "Of the bins; the last one includes 1"},
    )
    counts = fields.Dict(
        values=_COUNTS,
        required=True,
        metadata={"description": "Images in each bin, by label"},
    )


class UncertainSchema(Members):
    """An image that the model is not sure of."""

    id = text("As in the CSV")
    file = text("Path in the folder")
    label = text("The likeliest label")
    probabilities = by_label("Before clipping")
    thumbnail = text("Path of a small JPEG of it")


class ScoresSchema(Members):
    """What the result of a finished job looks like."""

    job = text("Id of the job")
    model = text("The model")
    version = count("Its version", 1)
    labels = texts("In the order of the model's outputs")
    images = count("Images in the folder")
    unreadable = count("Images that cannot be decoded; they count nowhere else")
    positive = text("Label of the CSV's probability, where it has one")
    histogram = fields.Nested(HistogramSchema, required=True)
    predicted = fields.Dict(
        values=fields.Integer(metadata={"minimum": 0}),
        required=True,
        metadata={"description": "Images of which it is the likeliest, by label"},
    )
    uncertain = several(UncertainSchema)


_EXAMPLE: Final[dict[str, Any]] = {
    "job": "0c5d1c9f5e4b7a21",
    "model": "dogscats",
    "version": 3,
    "labels": ["cat", "dog"],
    "images": 3,
    "unreadable": 0,
    "positive": "dog",
    "histogram": {
        "edges": [0.0, 0.5, 1.0],
        "counts": {"cat": [2, 1], "dog": [1, 2]},
    },
    "predicted": {"cat": 1, "dog": 2},
    "uncertain": [
        {
            "id": "7",
            "file": "7.jpg",
            "label": "dog",
            "probabilities": {"cat": 0.48, "dog": 0.52},
            "thumbnail": "/v1/jobs/0c5d1c9f5e4b7a21/images/7",
        }
    ],
}
_UNKNOWN: Final = ("not_found", "job_not_found", "storage_unavailable")

SHOW_SCORES: Final = Operation(
    summary="Show what a job's result looks like",
    description=(
        "A histogram of each label's probabilities, how often each label is the "
        "likeliest, and the 24 images that the model is least sure of."
    ),
    answers=(Answer("The scores", (Content(ScoresSchema, example=_EXAMPLE),)),),
    errors=(*_UNKNOWN, "job_not_finished", "scores_not_found"),
)

SHOW_IMAGE: Final = Operation(
    summary="Show one of a job's images, small",
    answers=(
        Answer(
            "At most 240 pixels a side",
            (Content({"type": "string", "format": "binary"}, "image/jpeg"),),
        ),
    ),
    errors=(*_UNKNOWN, "image_not_found", "overloaded"),
)
