"""TensorFlow Serving's REST paths, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from models.contract import ENCODED_SIGNATURE, SERVING_SIGNATURE
from service.documents.codes import IMAGE_CODES, MODEL_CODES
from service.documents.members import Members, text
from service.documents.operations import Answer, Content, Operation
from service.documents.predictions import BASE64, PIXEL_PNG, PREDICTED
from service.documents.version_status import STATUS_EXAMPLE, StatusSchema
from service.http.budget import TIMEOUT_HEADER
from service.rollout.gateway import KEY_HEADER

_FOUND: Final = ("not_found", "invalid_parameter", *MODEL_CODES)


class ModelSpecSchema(Members):
    """Which model answered."""

    name = text("Name of the model")
    signature_name = text("Empty")
    version = text("Its version")


class MetadataSchema(Members):
    """The signatures of a model."""

    model_spec = fields.Nested(ModelSpecSchema, required=True)
    metadata = fields.Dict(required=True)


SHOW_STATUS: Final = Operation(
    summary="State of one version (TensorFlow Serving)",
    parameters=(TIMEOUT_HEADER,),
    answers=(
        Answer(
            "The version's state",
            (Content(StatusSchema, example={"model_version_status": STATUS_EXAMPLE}),),
        ),
    ),
    errors=_FOUND,
)

SHOW_METADATA: Final = Operation(
    summary="Signatures of a model (TensorFlow Serving)",
    description=(
        "As this service takes them: `images` are encoded files in every signature."
    ),
    parameters=(TIMEOUT_HEADER,),
    answers=(Answer("The signatures", (Content(MetadataSchema),)),),
    errors=_FOUND,
)


def _object(required: str, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [required],
        "properties": {required: value},
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


def _with_signature(body: dict[str, Any]) -> dict[str, Any]:
    signature = {"enum": [SERVING_SIGNATURE, ENCODED_SIGNATURE, "", None]}
    return {**body, "properties": {**body["properties"], "signature_name": signature}}


_IMAGE: Final = _object("b64", BASE64)
_ROWS: Final = _list({"anyOf": [_IMAGE, _object("images", _IMAGE)]})
_COLUMNS: Final = {"anyOf": [_list(_IMAGE), _object("images", _list(_IMAGE))]}
_BODY: Final = {
    "oneOf": [
        _with_signature(_object("instances", _ROWS)),
        _with_signature(_object("inputs", _COLUMNS)),
    ]
}

_NUMBERS: Final = _list({"type": "number"})


def _outputs(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["probabilities", "logits"],
        "properties": {"probabilities": value, "logits": value},
        "additionalProperties": False,
    }


_ANSWER: Final = {
    "oneOf": [
        _object("predictions", _list(_outputs(_NUMBERS))),
        _object("outputs", _outputs(_list(_NUMBERS))),
    ]
}
_ROW: Final = {"probabilities": [0.01, 0.99], "logits": [-2.3, 2.3]}

TF_PREDICT: Final = Operation(
    summary="A model's outputs (TensorFlow Serving)",
    description=(
        "Rows (`instances`, answered by `predictions`) or columns (`inputs`, answered "
        "by `outputs`) of encoded images in base64. The outputs are the model's own: "
        "probabilities are calibrated but not clipped. One bad image refuses the "
        "request. Pixel lists are not taken: they are twenty times the bytes."
    ),
    parameters=(TIMEOUT_HEADER, KEY_HEADER),
    bodies=(Content(_BODY, example={"instances": [{"b64": PIXEL_PNG}]}),),
    answers=(
        Answer(
            "In the order of the images, columns in the order of the model's labels",
            (Content(_ANSWER, example={"predictions": [_ROW]}),),
            headers=PREDICTED,
        ),
    ),
    errors=(
        *("bad_request", "no_image", "unknown_signature", "too_many_images"),
        *("unsupported_media_type", "invalid_base64", *IMAGE_CODES, *_FOUND),
    ),
)
