"""The Open Inference Protocol, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from service.budget import TIMEOUT_HEADER
from service.documents.codes import IMAGE_CODES, MODEL_CODES
from service.documents.members import Members, choice, several, text, texts
from service.documents.operations import Answer, Content, Operation
from service.documents.predictions import BASE64, BYTES, PIXEL_PNG, PREDICTED

_FOUND: Final = ("not_found", "invalid_parameter", *MODEL_CODES)
_TIMEOUT: Final = (TIMEOUT_HEADER,)
_LENGTH_HEADER: Final = "Inference-Header-Content-Length"


class ServerSchema(Members):
    """Who answers."""

    name = text("`kennel`")
    version = text("Of the service")
    extensions = texts("Of the protocol")


class LiveSchema(Members):
    """The process answers."""

    live = fields.Boolean(required=True)


class ReadySchema(Members):
    """It can be asked."""

    ready = fields.Boolean(required=True)
    name = text("Of the model", required=False)


class TensorSchema(Members):
    """A tensor's form; -1 is the number of images."""

    name = text("Of the tensor")
    datatype = choice("Of its values", ("BYTES", "UINT8", "FP32"))
    shape = fields.List(fields.Integer(), required=True)


class ModelMetadataSchema(Members):
    """The tensors of a model."""

    name = text("Of the model")
    versions = texts("That can be asked, newest first")
    platform = text("`tensorflow_savedmodel`")
    inputs = several(TensorSchema)
    outputs = several(TensorSchema)


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


def _operation(summary: str, answer: type[Members], example: Any) -> Operation:
    content = Content(answer, example=example)
    return Operation(
        summary=f"{summary} (Open Inference Protocol)",
        parameters=_TIMEOUT,
        answers=(Answer(summary, (content,)),),
        errors=_FOUND,
    )


SHOW_SERVER: Final = Operation(
    summary="The service (Open Inference Protocol)",
    answers=(
        Answer(
            "Who answers",
            (
                Content(
                    ServerSchema,
                    example={
                        "name": "kennel",
                        "version": "0.1.0",
                        "extensions": ["binary_tensor_data"],
                    },
                ),
            ),
        ),
    ),
)
SERVER_LIVE: Final = Operation(
    summary="Is the process up (Open Inference Protocol)",
    answers=(Answer("It is", (Content(LiveSchema, example={"live": True}),)),),
)
SERVER_READY: Final = _operation(
    "Can the default model be asked", ReadySchema, {"ready": True}
)
SHOW_READY: Final = _operation(
    "Can the model be asked", ReadySchema, {"name": "dogscats", "ready": True}
)
SHOW_INPUTS: Final = _operation(
    "Tensors of a model",
    ModelMetadataSchema,
    {
        "name": "dogscats",
        "versions": ["3"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "images", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "logits", "datatype": "FP32", "shape": [-1, 2]},
        ],
    },
)


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
        "name": {"enum": ["probabilities", "logits"]},
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
    parameters=(*_TIMEOUT, _LENGTH_HEADER),
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
        *(*IMAGE_CODES, *_FOUND),
    ),
)
