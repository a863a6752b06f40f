"""From pixels to encoded bytes: thumbnails, reports and what is decoded again."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.images import Pixels, decode_thumbnail


def encode_thumbnail(image: bytes, longest_side: int = 240) -> bytes:
    """A small JPEG of an encoded *image*, for people to look at; keeps its shape.

    Raises:
        InvalidImageError: as `decode_image`.
    """
    return encode_jpeg(decode_thumbnail(image, longest_side))


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 85) -> bytes:
    """*pixels* [H, W, 3] RGB or [H, W] grey as a JPEG; *quality* 1 to 95."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of *pixels*, grey [height, width] or RGB [height, width, 3], without loss."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def encode_bmp(pixels: Pixels) -> bytes:
    """A BMP of *pixels*: `decode_image` gives exactly them, and encoding costs nothing."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "BMP")
    return stream.getvalue()
