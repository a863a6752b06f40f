"""From an HTTP request to the images in it: multipart fields or one raw body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import Request
from werkzeug.datastructures import FileStorage

from models.errors import InvalidImageError, InvalidRequestError, quoted, quoted_names
from service.upload_request import shown_start

IMAGE_FIELD: Final = "image"
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
    """Accept the form of *request* if its files are in *field*, or some are.

    Raises:
        InvalidRequestError: there is no file, or a text in its place; the message says
            what there is, and *how* to do it.
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


def _from_fields(request: Request, max_images: int) -> list[Upload]:
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
        image = stream.read()
    error = None if image else _empty(file.filename)
    return Upload(file.filename or None, image, error)


def _empty(name: str | None) -> InvalidImageError:
    if name:
        message = (
            f"the file {quoted(name)} is empty (0 bytes): if it is not, it was read "
            "before it was sent, so rewind or open it again"
        )
    else:
        message = f"a field {IMAGE_FIELD!r} holds no file: choose one, or leave it out"
    return InvalidImageError(message, code="empty_image")
