"""The Open Inference Protocol's inference, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from models.contract import LOGITS_OUTPUT, PROBABILITIES_OUTPUT
from service.documents.codes import IMAGE_CODES, MODEL_CODES
from service.documents.members import Members, several, text
from service.documents.open_inference import TensorSchema
from service.documents.operations import Answer, Content, Operation
from service.documents.parameters import LENGTH_HEADER
from service.documents.predictions import BASE64, BYTES, PIXEL_PNG, PREDICTED
from service.http.budget import TIMEOUT_HEADER
from service.rollout.gateway import KEY_HEADER


class OutputSchema(TensorSchema):
    """One of the model's outputs, row by row."""

    data = fields.List(fields.Float(), metadata={"description": "Unless binary"})
    parameters = fields.Dict()


class InferenceSchema(Members):
    """The model's outputs."""

    model_name = text("The model that answered")
    model_version = text("The version that answered")
    id = text("As in the request", required=False)
    outputs = several(OutputSchema)


def _input(datatype: str, shape: Any, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": "images"},
            "datatype": {"const": datatype},
            "shape": {"type": "array", "items": {"type": "integer"}, **shape},
            "data": {"type": "array", "items": data, "minItems": 1},
            "parameters": {"type": "object"},
        },
        "additionalProperties": False,
    }


_PIXEL: Final = {"type": "integer", "minimum": 0, "maximum": 255}
_INPUTS: Final = [
    _input("BYTES", {"minItems": 1, "maxItems": 2}, BASE64),
    _input("UINT8", {"minItems": 4, "maxItems": 4}, _PIXEL),
]
_WANTED: Final = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"enum": [PROBABILITIES_OUTPUT, LOGITS_OUTPUT]},
        "parameters": {"type": "object"},
    },
}
_BODY: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
        "inputs": {
            "type": "array",
            "items": {"anyOf": _INPUTS},
            "minItems": 1,
            "maxItems": 1,
        },
        "outputs": {"type": ["array", "null"], "items": _WANTED, "uniqueItems": True},
    },
    "additionalProperties": False,
}
_REQUEST: Final = {
    "inputs": [
        {"name": "images", "datatype": "BYTES", "shape": [1], "data": [PIXEL_PNG]}
    ],
    "outputs": [{"name": "probabilities"}],
}
_ANSWER: Final = {
    "model_name": "dogscats",
    "model_version": "3",
    "outputs": [
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [1, 2],
            "data": [0.01, 0.99],
        }
    ],
}

INFER: Final = Operation(
    summary="A model's outputs (Open Inference Protocol)",
    description=(
        "One input `images`: BYTES [N], encoded images (base64 in JSON), or UINT8 "
        "[N, H, W, 3], RGB pixels of the model's size (flat in JSON). The binary "
        "tensor extension works in both directions. The outputs are the model's own: "
        "probabilities are calibrated but not clipped, columns in the order of its "
        "labels. One bad image refuses the request."
    ),
    parameters=(TIMEOUT_HEADER, KEY_HEADER, LENGTH_HEADER),
    bodies=(
        Content(_BODY, example=_REQUEST),
        Content(BYTES, "application/octet-stream"),
    ),
    answers=(
        Answer(
            "Rows in the order of the images",
            (
                Content(InferenceSchema, example=_ANSWER),
                Content(BYTES, "application/octet-stream"),
            ),
            headers=PREDICTED,
        ),
    ),
    errors=(
        *("bad_request", "no_image", "too_many_images", "invalid_base64"),
        "unsupported_media_type",
        *("not_found", "invalid_parameter", *IMAGE_CODES, *MODEL_CODES),
    ),
)
