"""GET /v1/models and /v1/models/{name}, described."""

from __future__ import annotations

from typing import Final

from marshmallow import fields

from service.documents.codes import SERVER_CODES
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
from service.documents.version_status import (
    STATES,
    STATUS_EXAMPLE,
    VersionStatusSchema,
)
from service.http.budget import TIMEOUT_HEADER


class SpreadSchema(Members):
    """How many answers lie where."""

    scores = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "By tenths of the score, lowest first"},
    )
    labels = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "By most probable label, in the labels' order"},
    )


class CardSchema(Members):
    """What a model says of itself."""

    name = text("Name of the model")
    version = count("Its version", 1)
    labels = texts("In the order of the model's outputs")
    image_size = fields.List(fields.Integer(), required=True)
    network = text("Name of the network")
    recipe = text("How it was trained")
    temperature = number("Divides the logits; fitted on validation data")
    clip_bound = number("Default of `clip`; null: no clipping", allow_none=True)
    clip_choice = text("How the bound was chosen")
    weights = fields.Dict(required=True)
    training = fields.Dict(required=True)
    metrics = fields.Dict(required=True)
    libraries = fields.Dict(required=True)
    created = text("When it was exported, ISO 8601")
    git_revision = text("Of the code that exported it")
    explains = fields.Boolean(
        required=True, metadata={"description": "Whether POST /v1/explain can be asked"}
    )
    validation_spread = fields.Nested(
        SpreadSchema,
        required=True,
        allow_none=True,
        metadata={"description": "Of the answers for validation photos; null: unknown"},
    )
    schema = count("Version of the card's form", 1)


class VersionSchema(Members):
    """One version; its card is there when it is AVAILABLE."""

    version = count("Its number", 1)
    state = choice("As TensorFlow Serving names it", STATES)
    error = text("Why it cannot be loaded", required=False)
    loading_seconds = number(
        "While it is START or LOADING: how long this process has seen it so",
        required=False,
    )
    problem = text(
        "Why it stays away: it cannot be loaded, or has been loading for half a minute",
        required=False,
    )
    card = fields.Nested(CardSchema)


class ServedModelSchema(Members):
    """A model and its versions, newest first."""

    name = text("Name of the model")
    versions = several(VersionSchema)


class StatedModelSchema(ServedModelSchema):
    """The same, also as TensorFlow Serving tells it."""

    model_version_status = several(VersionStatusSchema)


class ServedModelsSchema(Members):
    """Every model."""

    models = several(ServedModelSchema)
    default_model = text(
        "The model that answers requests that name none; null: none can",
        allow_none=True,
    )


_CARD: Final = {
    "name": "dogscats",
    "version": 3,
    "labels": ["cat", "dog"],
    "image_size": [224, 224],
    "network": "vgg16",
    "recipe": "finetune",
    "temperature": 1.31,
    "clip_bound": 0.985,
    "clip_choice": "lowest expected log loss on validation data",
    "weights": {"source": "imagenet"},
    "training": {"images": {"cat": 11250, "dog": 11250}},
    "metrics": {"accuracy": 0.988},
    "libraries": {"tensorflow": "2.21.0"},
    "created": "2026-11-21T09:30:00+00:00",
    "git_revision": "92a1e5e",
    "explains": True,
    "validation_spread": {
        "scores": [962, 21, 6, 4, 4, 3, 5, 8, 24, 963],
        "labels": [1000, 1000],
    },
    "schema": 1,
}
_EXAMPLE: Final = {
    "name": "dogscats",
    "versions": [
        {"version": 4, "state": "LOADING", "loading_seconds": 4.2},
        {"version": 3, "state": "AVAILABLE", "card": _CARD},
    ],
}

_MODELS: Final = {"models": [_EXAMPLE], "default_model": "dogscats"}

LIST_MODELS: Final = Operation(
    summary="List the served models",
    parameters=(TIMEOUT_HEADER,),
    answers=(
        Answer(
            "Every model with its versions, newest first",
            (Content(ServedModelsSchema, example=_MODELS),),
        ),
    ),
    errors=("invalid_parameter", *SERVER_CODES),
)

SHOW_MODEL: Final = Operation(
    summary="Show one model",
    parameters=(TIMEOUT_HEADER,),
    answers=(
        Answer(
            "The model's versions, newest first",
            (
                Content(
                    StatedModelSchema,
                    example={**_EXAMPLE, "model_version_status": STATUS_EXAMPLE},
                ),
            ),
        ),
    ),
    errors=("not_found", "model_not_found", "invalid_parameter", *SERVER_CODES),
)
