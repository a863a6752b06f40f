"""Batches of images for POST /v1/predict, sent one after the other.

All images get the version that answered first. An image that cannot be used becomes an
entry with an error. A group that takes too long or fails as a whole is sent again in
smaller groups.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from urllib3.filepost import encode_multipart_formdata

from kennel.client.answers import Answer, ImageProblem
from kennel.client.errors import (
    TOO_SLOW,
    ApiBusyError,
    ApiError,
    ApiTimeoutError,
    ApiUnreachableError,
    problem_of,
)
from kennel.client.transport import Request, Transport, query_path
from kennel.client.uploads import sent_name
from models.errors import InvalidImageError
from models.images.files import MAX_IMAGE_BYTES, check_image_bytes

GROUP_IMAGES: Final = 8
"""A machine without a GPU answers so many well within a request's 10 seconds."""

GROUP_BYTES: Final = 32 * 1024 * 1024
"""Half of what the API takes by default."""

_GROWS_AFTER: Final = 16
"""After so many requests in time, a group that was made smaller is doubled."""

_MOST_LOST: Final = 3
"""After so many requests without an answer in a row, no more are sent."""

_TOO_LARGE: Final = 413
_TOO_MANY: Final = "too_many_images"
_INTERNAL: Final = 500

Image: TypeAlias = Path | str | bytes
"""A file by its path, or its content."""

_Part: TypeAlias = tuple[str, bytes]


class Predictions:
    """Requests for many images; the images in one follow the API's speed."""

    def __init__(
        self,
        transport: Transport,
        query: Mapping[str, Any],
        *,
        keep_going: bool = False,
    ) -> None:
        """Send requests through *transport*, all with *query*.

        With *keep_going*, images whose file or request fails become entries with an
        error, and the others are sent all the same.
        """
        self._transport = transport
        self._query = dict(query)
        self._keep_going = keep_going
        self._size = GROUP_IMAGES
        self._in_time = 0
        self._lost = 0

    def answers(self, images: Iterable[Image]) -> Iterator[Answer]:
        """The answers for all *images*, in their order, each as soon as it arrives.

        Only the images of one request are in memory.

        Raises:
            ApiError: the API refused or cannot be reached; with *keep_going* only if
                all further images would fail, too.
            OSError: a file cannot be read (not with *keep_going*).
        """
        for group in self._groups(images):
            if isinstance(group, ImageProblem):
                yield Answer.failed([group])
            else:
                yield from self._answers(group)

    def _groups(
        self, images: Iterable[Image]
    ) -> Iterator[Sequence[_Part] | ImageProblem]:
        group: list[_Part] = []
        count = 0
        for number, image in enumerate(images, start=1):
            part = self._read(image, number)
            size = 0 if isinstance(part, ImageProblem) else len(part[1])
            is_full = len(group) >= self._size or count + size > GROUP_BYTES
            if group and (is_full or isinstance(part, ImageProblem)):
                yield group
                group, count = [], 0
            if isinstance(part, ImageProblem):
                yield part
            else:
                group.append(part)
                count += size
        if group:
            yield group

    def _read(self, image: Image, number: int) -> _Part | ImageProblem:
        try:
            part = _part(image, number)
            size = len(part[1])
            # Empty bytes from a program are sent: the API explains them better.
            if size > MAX_IMAGE_BYTES or not (size or isinstance(image, bytes)):
                check_image_bytes(size)
        except InvalidImageError as error:
            return problem_of(_name(image, number), error)
        except OSError as error:
            if not self._keep_going:
                raise
            reason = f"the file cannot be read ({error.strerror or error})"
            return ImageProblem(_name(image, number), "unreadable_file", reason)
        return part

    def _answers(self, group: Sequence[_Part]) -> Iterator[Answer]:
        try:
            answer = self._send(group)
        except ApiError as error:
            yield from self._answers_without(group, error)
            return
        self._note_success(answer)
        yield answer

    def _answers_without(
        self, group: Sequence[_Part], error: ApiError
    ) -> Iterator[Answer]:
        if len(error.errors) == len(group):
            self._lost = 0
            yield Answer.failed(error.errors)
        elif len(group) > 1 and _may_be_one_image(error):
            if _is_slow(error) or error.code == _TOO_MANY:
                self._size, self._in_time = len(group) // 2, 0
            yield from self._in_parts(group)
        elif self._keep_going and not self._gives_up(error):
            yield Answer.failed(problem_of(name, error) for name, _ in group)
        else:
            raise error

    def _in_parts(self, group: Sequence[_Part]) -> Iterator[Answer]:
        half = len(group) // 2
        part, rest = group[:half], group[half:]
        while part:
            yield from self._answers(part)
            # The size may have shrunk again while the first part was sent.
            part, rest = rest[: self._size], rest[self._size :]

    def _send(self, group: Sequence[_Part]) -> Answer:
        body, kind = _form(group)
        request = Request(
            "POST",
            query_path("/v1/predict", self._query),
            {"Content-Type": kind},
            lambda: body,
            divisible=len(group) > 1,
        )
        return self._transport.send_json(request, Answer.from_json)

    def _note_success(self, answer: Answer) -> None:
        self._lost = 0
        self._in_time += 1
        if self._in_time == _GROWS_AFTER:
            self._size, self._in_time = min(2 * self._size, GROUP_IMAGES), 0
        if answer.version is not None:
            model = self._query.get("model") or answer.model
            pinned = {"model": model, "version": answer.version, "label": None}
            self._query.update(pinned)

    def _gives_up(self, error: ApiError) -> bool:
        if error.status in {_TOO_LARGE, _INTERNAL, TOO_SLOW}:
            self._lost = 0
            return False
        is_away = isinstance(error, ApiBusyError) or (
            isinstance(error, ApiUnreachableError) and error.sent
        )
        self._lost += 1
        return not is_away or self._lost >= _MOST_LOST


def image_form(image: Image) -> tuple[bytes, str]:
    """One image as the body of a request, and its content type.

    Raises:
        OSError: the file cannot be read.
    """
    return _form([_part(image, 1)])


def _is_slow(error: ApiError) -> bool:
    return error.status == TOO_SLOW or isinstance(error, ApiTimeoutError)


def _may_be_one_image(error: ApiError) -> bool:
    return _is_slow(error) or error.status in {_TOO_LARGE, _INTERNAL}


def _part(image: Image, number: int) -> _Part:
    name = _name(image, number)
    if isinstance(image, bytes):
        return name, image
    with Path(image).open("rb") as stream:
        # One byte beyond the limit is enough to see that the file is too large.
        return name, stream.read(MAX_IMAGE_BYTES + 1)


def _name(image: Image, number: int) -> str:
    if isinstance(image, bytes):
        return f"image-{number}"
    return sent_name(Path(image))


def _form(parts: Sequence[_Part]) -> tuple[bytes, str]:
    fields = [
        ("image", (name, content, mimetypes.guess_type(name)[0] or "image/*"))
        for name, content in parts
    ]
    return encode_multipart_formdata(fields)
