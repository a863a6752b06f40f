"""The `encoded` signature's graph gives the pixels of `models.images.codec`, but for rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from models.images.codec import decode_image
from tests.models.images.bombs import segment
from tests.models.images.handmade import png_chunk
from tests.models.images.test_codec import CASES, picture
from tests.models.images.test_structure import (
    JPEG,
    JPEG_XMP,
    exif,
    in_jpeg,
    in_png,
    photo,
    xmp,
)
from tests.pictures import encoded

SIZE = (24, 32)
Decode = Callable[[bytes], np.ndarray]

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def decode() -> Decode:
    import tensorflow as tf

    from export.publication.encoded_images import decode_encoded

    graph = tf.function(
        lambda image: decode_encoded(image, SIZE),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )
    return lambda image: graph(image).numpy().astype(int)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
def test_orientation_is_that_of_exif(
    decode: Decode, turn: int, order: str, kind: int
) -> None:
    block = exif(turn, order, kind)

    for image in (
        in_jpeg(segment(0xE1, b"Exif\0\0" + block)),
        in_jpeg(segment(0xE1, JPEG_XMP + xmp(3)), segment(0xE1, b"Exif\0\0" + block)),
        in_png(png_chunk(b"gAMA", bytes(4)), png_chunk(b"eXIf", block)),
    ):
        assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "RGB"])
def test_png_of_each_kind_is_on_white(decode: Decode, mode: str) -> None:
    values = np.random.default_rng(1).integers(0, 256, (36, 48, 4), np.uint8)
    image = encoded(Image.fromarray(values).convert(mode))

    assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_transparency_is_on_white_at_every_depth(decode: Decode, case: str) -> None:
    depth, colour, pixels, chunks, _ = CASES[case]

    for kept in (chunks, chunks[:1] if colour == 3 else ()):
        image = picture(depth, colour, pixels * 4, *kept)
        assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_of_each_kind(decode: Decode, mode: str, progressive: bool) -> None:
    image = encoded(photo().convert(mode), "JPEG", progressive=progressive)

    assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


def test_exif_that_cannot_be_read_is_ignored(decode: Decode) -> None:
    block = exif(6)
    for place in range(0, len(block), 3):
        changed = block[:place] + b"\xff" + block[place + 1 :]
        for broken in (block[:place], changed):
            image = in_jpeg(segment(0xE1, b"Exif\0\0" + broken))
            assert decode(image).shape == (*SIZE, 3)
    for image in (JPEG + bytes(99), in_jpeg(b"\xff\xff\xff\xe1\0\0")):
        assert np.abs(decode(image) - decode_image(JPEG, SIZE)).max() <= 1
