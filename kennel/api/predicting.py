"""Any number of images through POST /v1/predict, in requests that the API takes.

All get the version that answered first. An image that cannot be used is an entry of the
answer, whatever became of the others.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from urllib3.filepost import encode_multipart_formdata

from kennel.api.answers import Answer, Prediction
from kennel.api.call import Call
from kennel.api.errors import ApiError
from kennel.api.options import query_path

MAX_IMAGES: Final = 64
MAX_BYTES: Final = 32 * 1024 * 1024
"""Half of what the API takes by default; a chunk that is refused is sent in halves."""

Image: TypeAlias = Path | str | bytes
"""A file by its path, or its content."""

Ask: TypeAlias = Callable[[Call], dict[str, Any]]

_Part: TypeAlias = tuple[str, bytes]


def predict_all(ask: Ask, images: Iterable[Image], query: Mapping[str, Any]) -> Answer:
    """The answer for all *images*, in their order.

    Raises:
        ApiError: the API refused or cannot be reached.
        OSError: a file cannot be read.
    """
    answers = []
    for chunk in _chunks(images):
        answer = _predict(ask, chunk, query)
        answers.append(answer)
        if answer.version is not None:
            query = {**query, "label": None, "version": answer.version}
    return Answer.joined(answers) if answers else Answer(None, None, (), ())


def image_form(image: Image) -> tuple[bytes, str]:
    """One image as the body of a request, and its content type.

    Raises:
        OSError: the file cannot be read.
    """
    return _form([_part(image, 1)])


def _predict(ask: Ask, parts: Sequence[_Part], query: Mapping[str, Any]) -> Answer:
    body, kind = _form(parts)
    path = query_path("/v1/predict", query)
    try:
        call = Call("POST", path, {"Content-Type": kind}, lambda: body)
        return Answer.from_json(ask(call))
    except ApiError as error:
        if len(error.errors) == len(parts):
            problems = (Prediction(each.name, error=each) for each in error.errors)
            return Answer(None, None, (), tuple(problems))
        if error.status != 413 or len(parts) == 1:
            raise
    half = len(parts) // 2
    halves = (_predict(ask, part, query) for part in (parts[:half], parts[half:]))
    return Answer.joined(halves)


def _chunks(images: Iterable[Image]) -> Iterator[list[_Part]]:
    chunk: list[_Part] = []
    count = 0
    for number, image in enumerate(images, start=1):
        part = _part(image, number)
        if chunk and (len(chunk) == MAX_IMAGES or count + len(part[1]) > MAX_BYTES):
            yield chunk
            chunk, count = [], 0
        chunk.append(part)
        count += len(part[1])
    if chunk:
        yield chunk


def _part(image: Image, number: int) -> _Part:
    if isinstance(image, bytes):
        return f"image-{number}", image
    return Path(image).name, Path(image).read_bytes()


def _form(parts: Sequence[_Part]) -> tuple[bytes, str]:
    fields = [
        ("image", (name, content, mimetypes.guess_type(name)[0] or "image/*"))
        for name, content in parts
    ]
    return encode_multipart_formdata(fields)
