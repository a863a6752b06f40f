"""The Open Inference Protocol's health and metadata, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from service.documents.codes import MODEL_CODES
from service.documents.members import Members, choice, count, several, text, texts
from service.documents.operations import Answer, Content, Operation
from service.http.budget import TIMEOUT_HEADER

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


class ConfigTensorSchema(Members):
    """A tensor's form, without the number of images."""

    name = text("Of the tensor")
    data_type = choice("Of its values", ("TYPE_STRING", "TYPE_FP32"))
    dims = fields.List(fields.Integer(), required=True)


class ConfigSchema(Members):
    """A model in the words of Triton's configuration."""

    name = text("Of the model")
    platform = text("`tensorflow_savedmodel`")
    backend = text("`tensorflow`")
    max_batch_size = count("Images in one request", 1)
    input = several(ConfigTensorSchema)
    output = several(ConfigTensorSchema)


class IndexedSchema(Members):
    """A version of a model."""

    name = text("Of the model")
    version = text("Its number")
    state = choice(
        "Whether it can be asked",
        ("READY", "LOADING", "UNLOADING", "UNAVAILABLE", "UNKNOWN"),
    )
    reason = text("Why it cannot")


class CountSchema(Members):
    """A number of requests."""

    count = count("Since the service was started")


class OutcomesSchema(Members):
    """Requests by how they ended."""

    success = fields.Nested(CountSchema, required=True)
    fail = fields.Nested(CountSchema, required=True)


class VersionStatsSchema(Members):
    """What a version has answered."""

    name = text("Of the model")
    version = text("Its number")
    inference_count = count("Images answered since the service was started")
    inference_stats = fields.Nested(OutcomesSchema, required=True)


class StatsSchema(Members):
    """What versions have answered, in every protocol."""

    model_stats = several(VersionStatsSchema)


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
SHOW_CONFIG: Final = _operation(
    "A model's configuration",
    ConfigSchema,
    {
        "name": "dogscats",
        "platform": "tensorflow_savedmodel",
        "backend": "tensorflow",
        "max_batch_size": 64,
        "input": [{"name": "images", "data_type": "TYPE_STRING", "dims": [1]}],
        "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [2]}],
    },
)
SHOW_STATS: Final = _operation(
    "Requests and images of a model's versions",
    StatsSchema,
    {
        "model_stats": [
            {
                "name": "dogscats",
                "version": "3",
                "inference_count": 1200,
                "inference_stats": {"success": {"count": 900}, "fail": {"count": 2}},
            }
        ]
    },
)
SHOW_INDEX: Final = Operation(
    summary="All models and versions with their states (Open Inference Protocol)",
    description="The body may be left out; `ready` leaves out what cannot be asked.",
    parameters=_TIMEOUT,
    bodies=(
        Content(
            {
                "type": "object",
                "properties": {
                    "repository_name": {"type": "string"},
                    "ready": {"type": "boolean"},
                },
                "additionalProperties": False,
            },
            example={"ready": True},
        ),
    ),
    answers=(
        Answer(
            "Versions",
            (
                Content(
                    {"type": "array", "items": IndexedSchema},
                    example=[
                        {
                            "name": "dogscats",
                            "version": "3",
                            "state": "READY",
                            "reason": "",
                        }
                    ],
                ),
            ),
        ),
    ),
    errors=("bad_request", "unsupported_media_type", "too_large", *_FOUND),
)
