"""Tensors of the Open Inference Protocol that hold images: BYTES or UINT8.

BYTES are encoded images: base64 in JSON, or length and bytes in the binary extension.
UINT8 are pixels [N, H, W, 3]: numbers in JSON, or bytes as they are. Lists in JSON are flat
or nested as the shape is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np

from models.errors import InvalidImageError, InvalidRequestError, quoted
from models.images.codec import encode_bmp
from service.predictions.json_images import decode_base64

BYTES: Final = "BYTES"
UINT8: Final = "UINT8"

_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True)
class Tensor:
    """A tensor as it was sent: *binary* bytes, or else *data* out of the JSON."""

    datatype: Any
    shape: Any
    data: Any = None
    binary: bytes | None = None

    def count(self) -> int:
        """How many images it says it holds.

        Raises:
            InvalidRequestError: its shape is none that we read.
        """
        shape = self.shape
        whole = isinstance(shape, list) and all(type(each) is int for each in shape)
        if whole and self.datatype == BYTES and shape[1:] in ([], [1]) and shape:
            return int(shape[0])
        if whole and self.datatype == UINT8 and len(shape) == 4 and shape[3] == 3:
            return int(shape[0])
        message = (
            f"images: datatype {quoted(self.datatype)} of shape {quoted(shape)} is not "
            "read: send BYTES [N] (encoded images) or UINT8 [N, H, W, 3] (RGB)"
        )
        raise InvalidRequestError(message)

    def size(self) -> tuple[int, int] | None:
        """Height and width of its pixels; None for encoded images."""
        return None if self.datatype == BYTES else (self.shape[1], self.shape[2])

    def images(self) -> list[bytes]:
        """The encoded images in it, as many as it says.

        Raises:
            InvalidRequestError: its data do not fit its shape.
            InvalidImageError: a text is not base64; the message says which one.
        """
        images = list(self._pixels() if self.datatype == UINT8 else self._encoded())
        if len(images) != self.count():
            count = quoted(self.count())
            message = f"images: {len(images)} in the data, {count} in the shape"
            raise InvalidRequestError(message)
        return images

    def _encoded(self) -> Iterator[bytes]:
        if self.binary is not None:
            yield from _split(self.binary)
            return
        for number, text in enumerate(_flat(self.data, self.shape)):
            if not isinstance(text, str):
                message = f"images: data[{number}] is not a text: send base64"
                raise InvalidRequestError(message)
            try:
                yield decode_base64(text)
            except InvalidImageError as error:
                message = f"images: data[{number}]: {error}"
                raise InvalidImageError(message, code=error.code) from error

    def _pixels(self) -> Iterator[bytes]:
        flat = self.binary
        if flat is None:
            flat = _bytes_of(_flat(self.data, self.shape))
        if min(self.shape) < 1 or prod(self.shape) != len(flat):
            message = f"images: {len(flat):,} values for the shape {quoted(self.shape)}"
            raise InvalidRequestError(message)
        # The decoder gives exactly these pixels back, and all images go one way.
        for pixels in np.frombuffer(flat, np.uint8).reshape(self.shape):
            yield encode_bmp(pixels)


def _flat(data: Any, shape: list[int]) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidRequestError("images: data is not a list")
    if not any(isinstance(each, list) for each in data):
        return data
    level: list[Any] = [data]
    for depth, size in enumerate(shape):
        for number, each in enumerate(level):
            if not isinstance(each, list) or len(each) != size:
                raise _ragged(each, number, shape, depth)
        level = [inner for each in level for inner in each]
    return level


def _ragged(
    found: Any, number: int, shape: list[int], depth: int
) -> InvalidRequestError:
    where = ""
    for size in reversed(shape[:depth]):
        number, index = divmod(number, size)
        where = f"[{index}]{where}"
    what = f"{len(found)} entries" if isinstance(found, list) else quoted(found)
    return InvalidRequestError(
        f"images: data{where} is {what}, not a list of {quoted(shape[depth])}: nest data "
        f"exactly as its shape {quoted(shape)}, or send one flat list, row by row"
    )


def _bytes_of(numbers: list[Any]) -> bytes:
    try:
        return bytes(numbers)
    except (TypeError, ValueError) as error:
        message = "images: data of UINT8 is whole numbers from 0 to 255"
        raise InvalidRequestError(message) from error


def _split(packed: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(packed):
        end = start + _LENGTH.size
        if end > len(packed):
            raise InvalidRequestError("images: the last length is cut off")
        [length] = _LENGTH.unpack(packed[start:end])
        start, end = end, end + length
        if end > len(packed):
            raise InvalidRequestError("images: the last image is cut off")
        yield packed[start:end]
        start = end
