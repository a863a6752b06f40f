"""POST /v1/explain, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from service.documents.members import Members, choice, count, text, texts
from service.documents.operations import Answer, Content, Operation
from service.documents.predictions import (
    IMAGE_BODIES,
    IMAGE_ERRORS,
    PREDICTED,
    PredictionSchema,
)
from service.http.budget import TIMEOUT_HEADER


class HeatmapSchema(Members):
    """Where the model sees the class: rows of cells, from the image's top."""

    method = choice("How it was found", ["grad-cam"])
    height = count("Rows of cells over the image's height", 1)
    width = count("Cells in a row over the image's width", 1)
    values = fields.List(
        fields.List(fields.Float(metadata={"minimum": 0, "maximum": 1})),
        required=True,
        metadata={
            "description": "The hottest cell is 1; all are 0 if none speaks for it"
        },
    )


class ExplanationSchema(Members):
    """The prediction for one image, and what speaks for a class."""

    model = text("The model that answered")
    version = count("The version that answered", 1)
    labels = texts("In the order of the model's outputs")
    prediction = fields.Nested(PredictionSchema, required=True)
    explained = text("The class that the heat map is about")
    heatmap = fields.Nested(HeatmapSchema, required=True)


_EXAMPLE: Final[dict[str, Any]] = {
    "model": "dogscats",
    "version": 3,
    "labels": ["cat", "dog"],
    "prediction": {
        "name": "rex.jpg",
        "label": "dog",
        "probabilities": {"cat": 0.05, "dog": 0.95},
        "raw": {"cat": 0.01, "dog": 0.99},
    },
    "explained": "dog",
    "heatmap": {
        "method": "grad-cam",
        "height": 2,
        "width": 2,
        "values": [[0.0, 0.25], [0.5, 1.0]],
    },
}

EXPLAIN: Final = Operation(
    summary="Show where the model sees a class in one image",
    description=(
        "The prediction for one image, and a heat map (Grad-CAM, arXiv:1610.02391) of "
        "what in it speaks for a class."
    ),
    parameters=("model", "version", "label", "class", "clip", TIMEOUT_HEADER),
    bodies=IMAGE_BODIES,
    answers=(
        Answer(
            "The prediction and its heat map",
            (Content(ExplanationSchema, example=_EXAMPLE),),
            headers=PREDICTED,
        ),
    ),
    errors=(*IMAGE_ERRORS, "not_implemented"),
)
