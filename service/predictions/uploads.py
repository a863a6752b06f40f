"""From an HTTP request to the images in it: multipart fields or one raw body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import Request
from werkzeug.datastructures import FileStorage

from models.errors import InvalidImageError, InvalidRequestError, quoted, quoted_names

IMAGE_FIELD: Final = "image"
BAD_REQUEST: Final = "bad_request"
NO_IMAGE: Final = "no_image"
TOO_MANY_IMAGES: Final = "too_many_images"
UNSUPPORTED_MEDIA_TYPE: Final = "unsupported_media_type"

LONGEST_NAME: Final = 255
"""Characters in a name that an answer repeats, as in a file's name."""

_HOW: Final = (
    f"send files in the multipart field {IMAGE_FIELD!r} (curl -F {IMAGE_FIELD}=@FILE), "
    "one image as the body with Content-Type image/*, or base64 in JSON "
    '({"images": ["..."]})'
)


@dataclass(frozen=True)
class Upload:
    """One encoded image, and the file name that its sender gave it.

    Attributes:
        error: why *image* is empty, where the sender could not have known.
    """

    name: str | None
    image: bytes
    error: InvalidImageError | None = None


def read_uploads(request: Request, max_images: int) -> list[Upload]:
    """The images of a *request*, in its order, at least one.

    Raises:
        InvalidRequestError: none, too many, or sent in another way.
        HTTPException: the body is above the application's limit.
    """
    kind = request.mimetype
    if kind == "multipart/form-data":
        return _from_fields(request, max_images)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [Upload(None, request.get_data(cache=False))]
    if not kind and not request.content_length:
        raise InvalidRequestError(f"the request has no body: {_HOW}", code=NO_IMAGE)
    message = f"Content-Type {quoted(kind or 'missing')} is not read here: {_HOW}"
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


def _from_fields(request: Request, max_images: int) -> list[Upload]:
    files = request.files.getlist(IMAGE_FIELD)
    others = sorted({*request.files, *request.form} - {IMAGE_FIELD})
    if not files:
        seen = quoted_names(sorted({*request.files, *request.form}))
        message = f"no file in the request (its fields: {seen}): {_HOW}"
        raise InvalidRequestError(message, code=NO_IMAGE)
    if others:
        message = (
            f"unknown form field {quoted(others[0])}: files go into {IMAGE_FIELD!r}, "
            "parameters into the URL's query"
        )
        raise InvalidRequestError(message)
    check_image_count(len(files), max_images)
    return [_read(number, file) for number, file in enumerate(files)]


def check_name(name: str, where: str) -> None:
    """Accept the *name* of what is sent *where*: an answer repeats it.

    Raises:
        InvalidRequestError: it is too long.
    """
    if len(name) > LONGEST_NAME:
        message = (
            f"{where} has {len(name):,} characters ({quoted(name)}), the limit is "
            f"{LONGEST_NAME}: shorten it"
        )
        raise InvalidRequestError(message)


def _read(number: int, file: FileStorage) -> Upload:
    check_name(file.filename or "", f"the file name of image {number}")
    # Closed at once: up to 64 of them may be open temporary files.
    with file.stream as stream:
        return Upload(file.filename or None, stream.read())
