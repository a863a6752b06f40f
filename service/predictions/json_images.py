"""Images as base64 in JSON, for clients that cannot send files.

{"images": [TEXT or {"name": NAME, "b64": TEXT}, ...]}: a text that is no base64 is one
bad image among others; anything else is a mistake in the request.
"""

from __future__ import annotations

import binascii
from typing import Any, Final

from flask import Request

from models.errors import InvalidImageError, InvalidRequestError, detached, quoted
from service.predictions.json_body import JsonLimits, check_members, json_members
from service.predictions.uploads import (
    Upload,
    check_image_count,
    check_name,
    read_uploads,
)

_MEMBERS: Final = ("images",)
_IMAGE_MEMBERS: Final = ("b64", "name")


def read_images(request: Request, max_images: int) -> list[Upload]:
    """The images of a *request* in any form that we read, at least one.

    Raises:
        InvalidRequestError: none, too many, or sent in another way.
        HTTPException: the body is above the application's limit.
    """
    if request.mimetype != "application/json":
        return read_uploads(request, max_images)
    body = request.get_data(cache=False)
    with json_members(body, JsonLimits(max_images)) as members:
        del body
        check_members(members, _MEMBERS, "the body (parameters go into the query)")
        images = members.get("images", [])
        if not isinstance(images, list):
            raise InvalidRequestError('images is not a list: use {"images": ["..."]}')
        check_image_count(len(images), max_images)
        return [_upload(number, image) for number, image in enumerate(images)]


def decode_base64(text: str) -> bytes:
    """The bytes that *text* stands for.

    Raises:
        InvalidImageError: it is not base64 (RFC 4648, padded, nothing between).
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        message = (
            f"not base64 ({error}; it starts with {text[:16]!r}): use the standard "
            "alphabet with padding, without line breaks and without a data: prefix"
        )
        raise InvalidImageError(message, code="invalid_base64") from error


def _upload(number: int, image: Any) -> Upload:
    where = f"images[{number}]"
    given = {"b64": image} if isinstance(image, str) else image
    if not isinstance(given, dict) or not isinstance(given.get("b64"), str):
        message = f'{where} is neither a text nor {{"b64": TEXT}}: send base64'
        raise InvalidRequestError(message)
    check_members(given, _IMAGE_MEMBERS, where)
    name = given.get("name")
    if name is not None and not isinstance(name, str):
        raise InvalidRequestError(f"{where}: name={quoted(name)} is not a text")
    check_name(name or "", f"{where}: name")
    try:
        return Upload(name, decode_base64(given["b64"]))
    except InvalidImageError as error:
        return Upload(name, b"", detached(error))
