"""JSON bodies that hold images, read so that their memory is bounded.

While a body is read it takes about three times its size: they are read one at a time.
A body of nothing but brackets would become objects of twenty times its size: what
images cannot explain is refused before it is parsed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from models.errors import InvalidRequestError, quoted
from models.files import parse_json
from models.images.formats import START_BYTES, identify_format
from service.upload_request import BAD_REQUEST, LEAVE_CONTENT_TYPE

_PARTS_PER_IMAGE: Final = 64
"""Brackets or commas: a handful belong to the form, the others may be in names."""

_one_at_a_time: Final = threading.Lock()


@dataclass(frozen=True)
class JsonLimits:
    """What a body may hold: so many images, and numbers beside them."""

    images: int
    numbers: int = 0


@contextmanager
def json_members(body: bytes, limits: JsonLimits) -> Iterator[dict[str, Any]]:
    """The members of the JSON object in *body*; take what you need while it lasts.

    Raises:
        InvalidRequestError: no JSON, no object, or too many parts.
    """
    with _one_at_a_time:
        _check_parts(body, limits)
        members = parse_body(body)
        del body
        if not isinstance(members, dict):
            raise InvalidRequestError("the body is not a JSON object")
        yield members


def check_members(members: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    """Accept an object whose members are all *known*.

    Raises:
        InvalidRequestError: one is not; the message names it.
    """
    for name in members:
        if name not in known:
            listed = ", ".join(known)
            message = f"unknown member {quoted(name)} in {where}: known are {listed}"
            raise InvalidRequestError(message)


def _check_parts(body: bytes, limits: JsonLimits) -> None:
    most = _PARTS_PER_IMAGE * limits.images
    brackets = body.count(b"{") + body.count(b"[")
    commas = body.count(b",")
    # Nested, every pixel is a list of three numbers.
    if brackets > most + limits.numbers // 2 or commas > most + limits.numbers:
        message = (
            f"the JSON has {brackets + commas:,} parts, too many for {limits.images} "
            "images: send images as files or in base64"
        )
        raise InvalidRequestError(message, code="too_large")


def parse_body(body: bytes) -> Any:
    """What the JSON in *body* says.

    Raises:
        InvalidRequestError: it is no JSON.
    """
    try:
        return parse_json(body)
    except ValueError as error:
        message = f"the body is not JSON ({error})"
        if not body:
            message = "the body is empty, not JSON"
        elif body.startswith(b"--"):
            message = f"the body is a form, not JSON: {LEAVE_CONTENT_TYPE}"
        elif name := identify_format(body[:START_BYTES]):
            message = (
                f"the body is a {name} file, not JSON: put it into the JSON as base64, "
                "or send it to /v1/predict with Content-Type image/*"
            )
        raise InvalidRequestError(message, code=BAD_REQUEST) from error
