"""Photos and pixels inside the page, as data URLs: the report is one file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.data.sources.reading import read_photo
from export.report.drawing.markup import Markup, join, text
from models.errors import InvalidImageError
from models.images.codec import (
    Pixels,
    decode_image,
    encode_jpeg,
    encode_png,
    encode_thumbnail,
)


def photo(file: Path, longest_side: int) -> Markup:
    """A thumbnail of *file*; where it cannot be read, a box that says so."""
    try:
        thumbnail = encode_thumbnail(read_photo(file), longest_side)
    except InvalidImageError as error:
        message = f"{file.name} cannot be shown: {error}"
        return Markup(f'<span class="unreadable">{text(message)}</span>')
    return _image(thumbnail, "jpeg", f"photo {file.name}")


def picture(pixels: NDArray[np.uint8], alternative: str) -> Markup:
    """Pixels [H, W, 3] or [H, W] as a JPEG: for anything as detailed as a photo."""
    return _image(encode_jpeg(pixels), "jpeg", alternative)


def tiles(pictures: Sequence[NDArray[np.uint8]], description: str) -> Markup:
    """Small pictures in rows, pixel by pixel; one description speaks for all."""
    shown = join(_image(encode_png(each), "png", "") for each in pictures)
    return Markup(
        f'<div class="tiles" role="img" aria-label="{text(description)}">{shown}</div>'
    )


def strip(pictures: Sequence[NDArray[np.uint8]], description: str) -> Markup:
    """Pictures in one row of equal columns; one description speaks for all."""
    shown = join(_encoded(each) for each in pictures)
    return Markup(
        f'<div class="strip" role="img" aria-label="{text(description)}">{shown}</div>'
    )


def _encoded(pixels: NDArray[np.uint8]) -> Markup:
    # JPEG would blur the edges of a map that is enlarged on the page.
    if max(pixels.shape[:2]) <= 32:
        return _image(encode_png(pixels), "png", "")
    return _image(encode_jpeg(pixels), "jpeg", "")


def _image(image: bytes, kind: str, alternative: str) -> Markup:
    data = base64.b64encode(image).decode()
    return Markup(
        f'<img src="data:image/{kind};base64,{data}" alt="{text(alternative)}">'
    )


def decode_readable(
    files: Sequence[Path], indices: Iterable[int], size: tuple[int, int]
) -> dict[int, Pixels]:
    """Pixels of *size* by index; photos that cannot be read are left out."""
    decoded = {}
    for index in indices:
        with suppress(InvalidImageError):
            decoded[index] = decode_image(read_photo(files[index]), size)
    return decoded
