"""POST /v1/predict, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from models.images.formats import FORMAT_NAMES
from service.documents.codes import IMAGE_CODES, MODEL_CODES
from service.documents.members import Members, by_label, count, several, text, texts
from service.documents.operations import Answer, Content, Operation
from service.documents.problem import ImageErrorSchema
from service.http.budget import TIMEOUT_HEADER
from service.rollout.gateway import KEY_HEADER

PIXEL_PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAA"
    "AABJRU5ErkJggg=="
)
"""One grey pixel as a PNG, in base64."""

BYTES: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
FILES: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {
            "type": "array",
            "items": BYTES,
            "minItems": 1,
            "description": "Up to 64 files, or the limit of GET /v1/info",
        }
    },
    "additionalProperties": False,
}
BASE64: Final[dict[str, Any]] = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "The file in base64: the standard alphabet, padded, on one line",
}
_NAMED_BASE64: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["b64"],
    "properties": {"b64": BASE64, "name": {"type": ["string", "null"]}},
    "additionalProperties": False,
}
TEXTS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["images"],
    "properties": {
        "images": {
            "type": "array",
            "items": {"anyOf": [BASE64, _NAMED_BASE64]},
            "minItems": 1,
        }
    },
    "additionalProperties": False,
}


class PredictionSchema(Members):
    """The answer for one image: an error, or the label and its probabilities."""

    name = text("File name as sent; null if there was none", allow_none=True)
    label = text("The likeliest label", required=False)
    probabilities = by_label("Clipped", required=False)
    raw = by_label("As the model gave them", required=False)
    error = fields.Nested(ImageErrorSchema)


class PredictionsSchema(Members):
    """The answers for all images of a request."""

    model = text("The model that answered")
    version = count("The version that answered", 1)
    labels = texts("In the order of the model's outputs")
    predictions = several(PredictionSchema)


PREDICTED: Final = (
    *("X-Model-Name", "X-Model-Version", "X-Model-Label"),
    *("Server-Timing", "RateLimit"),
)
"""Headers of an answer for images."""

IMAGE_BODIES: Final = (
    Content(FILES, "multipart/form-data"),
    Content(BYTES, "image/*"),
    Content(BYTES, "application/octet-stream"),
    Content(TEXTS, example={"images": [{"name": "rex.png", "b64": PIXEL_PNG}]}),
)
"""The forms in which images may be sent."""
IMAGE_ERRORS: Final = (
    *("bad_request", "no_image", "too_many_images", "unsupported_media_type"),
    *("invalid_parameter", "invalid_base64"),
    *(*IMAGE_CODES, *MODEL_CODES),
)
"""How a request with images may end."""

_EXAMPLE: Final = {
    "model": "dogscats",
    "version": 3,
    "labels": ["cat", "dog"],
    "predictions": [
        {
            "name": "rex.jpg",
            "label": "dog",
            "probabilities": {"cat": 0.05, "dog": 0.95},
            "raw": {"cat": 0.01, "dog": 0.99},
        },
        {
            "name": "notes.txt",
            "error": {
                "code": "unsupported_image",
                "detail": "not a JPEG, PNG, WebP or BMP image: convert it first",
            },
        },
    ],
}

PREDICT: Final = Operation(
    summary="Classify one or many images",
    description=(
        f"{FORMAT_NAMES}, as files of a form, as one raw body, or as base64 in "
        "JSON. Answers come in the order of the images; an image that cannot be "
        "decoded has an `error` beside the answers of the others. Only if none can "
        "be decoded the whole request is an error, whose `errors` lists each image."
    ),
    parameters=(
        *("model", "version", "label", "clip", "top"),
        *(TIMEOUT_HEADER, KEY_HEADER),
    ),
    bodies=IMAGE_BODIES,
    answers=(
        Answer(
            "In the order of the images",
            (Content(PredictionsSchema, example=_EXAMPLE),),
            headers=PREDICTED,
        ),
    ),
    errors=IMAGE_ERRORS,
)
