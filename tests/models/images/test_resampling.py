"""The compiled resize and Pillow's give the same pixels, to the last bit."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from models.images.codec import Pixels, decode_image, encode_bmp, resize_rgb
from tests.pictures import encoded

PHOTO = (375, 500)


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    if resize_rgb(_noise(PHOTO), (224, 224)) is None:
        message = "models/images/_resampling.c is not compiled: pip install -e . with a compiler"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


@pytest.mark.parametrize(
    "before", [PHOTO, (501, 333), (900, 130), (224, 224), (7, 5), (1, 3000)]
)
@pytest.mark.parametrize("after", [(224, 224), (299, 301), (28, 31), (1, 4)])
def test_compiled_pixels_are_pillows(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    image = _noise(before)

    pixels = resize_rgb(image, after)

    assert pixels is not None
    assert np.array_equal(pixels, _pillows(image, after))


@pytest.mark.parametrize(
    ("before", "box"),
    [
        ((501, 333), (0, 0, 332.125, 500.75)),
        ((501, 333), (0.875, 0.5, 333, 501)),
        ((900, 130), (0.25, 0, 130, 899.375)),
        ((224, 225), (0, 0, 224.5, 224)),
    ],
)
def test_part_of_an_image_is_resized_as_by_pillow(
    before: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    image = _noise(before)

    pixels = resize_rgb(image, (224, 224), box)

    assert pixels is not None
    wanted = image.resize((224, 224), Image.Resampling.BILINEAR, box)
    assert np.array_equal(pixels, np.asarray(wanted))


def test_weights_that_add_up_to_more_than_one_end_at_white() -> None:
    white = Image.new("RGB", (30_000, 3), "white")

    pixels = resize_rgb(white, (1, 4))

    assert pixels is not None
    assert (pixels == 255).all()


@pytest.mark.parametrize("before", [(2100, 2000), (9, 3), PHOTO])
def test_decoded_pixels_are_pillows_whoever_resizes(before: tuple[int, int]) -> None:
    image = _noise(before)

    pixels = decode_image(encode_bmp(np.asarray(image)), (224, 224))

    assert np.array_equal(pixels, _pillows(image, (224, 224)))


def test_grey_is_left_to_pillow() -> None:
    grey = Image.new("L", (40, 30), 70)

    assert resize_rgb(grey, (24, 24)) is None
    assert (decode_image(encoded(grey), (24, 24)) == 70).all()


def test_compiled_code_refuses_pixels_that_do_not_fit() -> None:
    from models.images import _resampling  # type: ignore[attr-defined] # compiled

    pixels = _noise((8, 8)).__arrow_c_array__()[1]
    whole, short = np.empty((4, 4, 3), np.uint8), np.empty((4, 4, 2), np.uint8)

    with pytest.raises(ValueError, match="do not fit"):
        _resampling.resize_rgb(pixels, (8, 8), (0, 0, 8, 8), short, (4, 4), False)
    with pytest.raises(ValueError, match="do not fit"):
        _resampling.resize_rgb(pixels, (9, 8), (0, 0, 9, 8), whole, (4, 4), False)
    with pytest.raises(ValueError, match="do not fit"):
        _resampling.resize_rgb(pixels, (8, 8), (0, 0, 8.1, 8), whole, (4, 4), False)


def _noise(size: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8)
    return Image.fromarray(values)


def _pillows(image: Image.Image, size: tuple[int, int]) -> Pixels:
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
