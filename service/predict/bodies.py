"""Bodies that hold images: multipart fields, one raw body, or base64 in JSON.

{"images": [TEXT or {"name": NAME, "b64": TEXT}, ...]}: a text that is no base64 is one
bad image among others; anything else is a mistake in the request.

Reading a JSON body takes about three times its size, so they are read one at a time. A body of
brackets alone would become objects of twenty times its size, so a body with more parts than
its images need is refused before it is parsed.
"""

from __future__ import annotations

import binascii
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from flask import Request
from werkzeug.datastructures import FileStorage

from models.errors import (
    InvalidImageError,
    InvalidRequestError,
    detached,
    quoted,
    quoted_names,
)
from models.files import parse_json
from models.images.formats import START_BYTES, identify_format
from service.http.errors import BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE
from service.http.multipart import LEAVE_CONTENT_TYPE, shown_start

_MEMBERS: Final = ("images",)
_IMAGE_MEMBERS: Final = ("b64", "name")

IMAGE_FIELD: Final = "image"
NO_IMAGE: Final = "no_image"
TOO_MANY_IMAGES: Final = "too_many_images"
LONGEST_NAME: Final = 255
"""In characters: answers repeat names."""

_HOW: Final = (
    f"send files in the multipart field {IMAGE_FIELD!r} (curl -F {IMAGE_FIELD}=@FILE), "
    "one image as the body with Content-Type image/*, or base64 in JSON "
    '({"images": ["..."]})'
)
_PARTS_PER_IMAGE: Final = 64
"""Brackets or commas for each image: some are syntax, others may be in file names."""

_one_at_a_time: Final = threading.Lock()


def read_images(request: Request, max_images: int) -> list[UploadedImage]:
    """The images of a *request* in any accepted form, at least one.

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
        return [_from_json(number, image) for number, image in enumerate(images)]


def decode_base64(text: str) -> bytes:
    """The bytes that *text* encodes in base64.

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


def _from_json(number: int, image: Any) -> UploadedImage:
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
        return UploadedImage(name, decode_base64(given["b64"]))
    except InvalidImageError as error:
        return UploadedImage(name, b"", detached(error))


@dataclass(frozen=True)
class UploadedImage:
    """One encoded image, and the file name that its sender gave it.

    Attributes:
        error: why *image* is empty: it was an empty file, or not base64.
    """

    name: str | None
    image: bytes
    error: InvalidImageError | None = None


def read_uploads(request: Request, max_images: int) -> list[UploadedImage]:
    """The images of a *request*, in its order, at least one.

    Raises:
        InvalidRequestError: none, too many, or sent in another way.
        HTTPException: the body is above the application's limit.
    """
    kind = request.mimetype
    if kind == "multipart/form-data":
        return _from_fields(request, max_images)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [UploadedImage(None, request.get_data(cache=False))]
    if not kind and not request.content_length:
        raise InvalidRequestError(f"the request has no body: {_HOW}", code=NO_IMAGE)
    message = f"the request has no Content-Type: {_HOW}"
    if kind:
        message = f"Content-Type {quoted(kind)} is not read here: {_HOW}"
    if kind == "application/x-www-form-urlencoded":
        message = (
            f"Content-Type {quoted(kind)} (what curl -d and --data-binary send by "
            f"themselves) holds no files: {_HOW}"
        )
    raise InvalidRequestError(message, code=UNSUPPORTED_MEDIA_TYPE)


def check_image_count(count: int, max_images: int) -> None:
    """Accept *count* images in one request.

    Raises:
        InvalidRequestError: there are more than *max_images*, or none.
    """
    if count == 0:
        raise InvalidRequestError(f"no image in the request: {_HOW}", code=NO_IMAGE)
    if count > max_images:
        message = (
            f"{quoted(count)} images, the limit is {max_images} in one request: send "
            "several requests, or the whole folder as a job (POST /v1/jobs)"
        )
        raise InvalidRequestError(message, code=TOO_MANY_IMAGES)


def check_one_field(
    request: Request, field: str, how: str, code: str = NO_IMAGE
) -> None:
    """Accept the form of *request* if *field* holds a file.

    Raises:
        InvalidRequestError: *field* holds no file, or a text; the message says what the
            form holds, and *how* to send it.
        HTTPException: the form is above the application's limit.
    """
    texts = request.form.getlist(field)
    if texts:
        message = (
            f"the field {field!r} is a text (it begins with {shown_start(texts[0])}), "
            f"not a file: {how}, or FormData.append({field!r}, FILE), or requests with "
            f"files={{{field!r}: open(FILE, 'rb')}}"
        )
    elif field in request.files:
        return
    elif request.files:
        wrong = quoted_names(dict.fromkeys(request.files))
        message = f"no file in the field {field!r}, but in {wrong}: {how}"
    else:
        seen = quoted_names(dict.fromkeys(request.form))
        message = f"no file in the form (its fields: {seen}): {how}"
    raise InvalidRequestError(message, code=code)


def _from_fields(request: Request, max_images: int) -> list[UploadedImage]:
    check_one_field(request, IMAGE_FIELD, _HOW)
    others = sorted({*request.files, *request.form} - {IMAGE_FIELD})
    if others:
        message = (
            f"unknown form field {quoted(others[0])}: files go into {IMAGE_FIELD!r}, "
            "parameters into the URL's query"
        )
        raise InvalidRequestError(message)
    files = request.files.getlist(IMAGE_FIELD)
    check_image_count(len(files), max_images)
    return [_read_file(number, file) for number, file in enumerate(files)]


def check_name(name: str, where: str) -> None:
    """Accept *name*, which answers repeat; messages call it *where*.

    Raises:
        InvalidRequestError: it is too long.
    """
    if len(name) > LONGEST_NAME:
        message = (
            f"{where} has {len(name):,} characters ({quoted(name)}), the limit is "
            f"{LONGEST_NAME}: shorten it"
        )
        raise InvalidRequestError(message)


def _read_file(number: int, file: FileStorage) -> UploadedImage:
    check_name(file.filename or "", f"the file name of image {number}")
    # Closed at once: up to 64 of them may be open temporary files.
    with file.stream as stream:
        image = stream.read()
    error = None if image else _empty(file.filename)
    return UploadedImage(file.filename or None, image, error)


def _empty(name: str | None) -> InvalidImageError:
    if name:
        message = (
            f"the file {quoted(name)} is empty (0 bytes): if it is not, it was read "
            "before it was sent, so rewind or open it again"
        )
    else:
        message = f"a field {IMAGE_FIELD!r} holds no file: choose one, or leave it out"
    return InvalidImageError(message, code="empty_image")


@dataclass(frozen=True)
class JsonLimits:
    """How many images a body may hold, and how many numbers beside them."""

    images: int
    numbers: int = 0


@contextmanager
def json_members(body: bytes, limits: JsonLimits) -> Iterator[dict[str, Any]]:
    """The members of the JSON object in *body*, in the block.

    Raises:
        InvalidRequestError: *body* is no JSON object, or has too many parts.
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
    """The value of the JSON in *body*.

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
