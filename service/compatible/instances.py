"""Images in the JSON of TensorFlow Serving's REST API.

Row format: {"instances": [{"b64": TEXT} or {"images": {"b64": TEXT}}, ...]}.
Column format: {"inputs": [{"b64": TEXT}, ...]} or {"inputs": {"images": [...]}}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Request

from models.contract import ENCODED_SIGNATURE, IMAGES_INPUT, SERVING_SIGNATURE
from models.errors import InvalidImageError, InvalidRequestError, quoted, quoted_names
from service.predictions.json_body import JsonLimits, check_members, json_members
from service.predictions.json_images import decode_base64
from service.predictions.uploads import check_image_count

SIGNATURES: Final = (SERVING_SIGNATURE, ENCODED_SIGNATURE)
"""Either one: the images are decoded before the model server sees them."""

_ROWS: Final = "instances"
_COLUMNS: Final = "inputs"
_MEMBERS: Final = ("signature_name", _ROWS, _COLUMNS)


@dataclass(frozen=True)
class Instances:
    """Encoded images, and whether they came as columns: so goes the answer."""

    images: list[bytes]
    in_columns: bool


def read_instances(request: Request, max_images: int) -> Instances:
    """The images in the body of *request*, whatever its Content-Type says.

    Raises:
        InvalidRequestError: no such JSON; the message names the member.
        InvalidImageError: a text is not base64; the message says which one.
        HTTPException: the body is above the application's limit.
    """
    # curl -d says that it sends a form, and TensorFlow Serving never looks.
    body = request.get_data(cache=False)
    with json_members(body, JsonLimits(max_images)) as members:
        del body
        check_members(members, _MEMBERS, "the body")
        _check_signature(members.get("signature_name"))
        if (_ROWS in members) == (_COLUMNS in members):
            raise InvalidRequestError(f"send one of {_ROWS!r} and {_COLUMNS!r}")
        in_columns = _COLUMNS in members
        where = _COLUMNS if in_columns else _ROWS
        images = members[where]
        if in_columns and isinstance(images, dict):
            images = _only_input(images, where)
        if not isinstance(images, list):
            raise InvalidRequestError(f'{where} is not a list: use [{{"b64": TEXT}}]')
        check_image_count(len(images), max_images)
        decoded = [_image(each, f"{where}[{n}]") for n, each in enumerate(images)]
        return Instances(decoded, in_columns)


def _check_signature(name: Any) -> None:
    if name in (None, "", *SIGNATURES):
        return
    message = f"signature_name={quoted(name)}: use one of {', '.join(SIGNATURES)}"
    raise InvalidRequestError(message, code="unknown_signature")


def _only_input(members: dict[str, Any], where: str) -> Any:
    if set(members) != {IMAGES_INPUT}:
        named = quoted_names(members)
        message = f"{where} holds {named}: the model's only input is {IMAGES_INPUT!r}"
        raise InvalidRequestError(message)
    return members[IMAGES_INPUT]


def _image(instance: Any, where: str) -> bytes:
    if isinstance(instance, dict) and "b64" not in instance:
        instance = _only_input(instance, where)
    if isinstance(instance, list):
        message = f'{where} is a list of pixels: send the encoded file, {{"b64": TEXT}}'
        raise InvalidRequestError(message)
    text = instance.get("b64") if isinstance(instance, dict) else None
    if not isinstance(text, str) or len(instance) != 1:
        raise InvalidRequestError(f'{where} is not {{"b64": TEXT}}: send base64')
    try:
        return decode_base64(text)
    except InvalidImageError as error:
        raise InvalidImageError(f"{where}: {error}", code=error.code) from error
