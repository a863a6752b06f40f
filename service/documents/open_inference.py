"""The Open Inference Protocol's health and metadata, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from service.budget import TIMEOUT_HEADER
from service.documents.codes import MODEL_CODES
from service.documents.members import Members, choice, several, text, texts
from service.documents.operations import Answer, Content, Operation

_FOUND: Final = ("not_found", "invalid_parameter", *MODEL_CODES)
_TIMEOUT: Final = (TIMEOUT_HEADER,)


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
    keyless=True,
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
