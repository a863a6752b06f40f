"""How large an image may be: MAX_PIXELS, and JPEGs that are decoded at a fraction."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from kennel.cli import main
from models.decode_sandbox import DecodeLimits, DecodeSandbox
from models.errors import InvalidImageError, InvalidRequestError
from models.image_files import MAX_PIXELS, limit_pixels
from models.image_structure import read_size
from models.images import WHOLE_PIXELS, decode_grey, decode_image, decode_thumbnail
from service.settings import ServiceSettings
from tests.models.bombs import frame_header
from tests.models.files import huge_png
from tests.pictures import encoded, grey
from worker.settings import WorkerSettings

SIZE = (60, 90)
LARGE = (7200, 7000)
"""Width and height, a little above what is decoded whole."""


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    yield
    limit_pixels(MAX_PIXELS)


def stripes(size: tuple[int, int], mode: str = "L") -> Image.Image:
    """Light and dark from top to bottom, darker to the right; not the same turned."""
    width, height = size
    rows = 128 + 60 * np.sin(np.arange(70) / 3)[:, None] - np.arange(70) * 0.8
    small = Image.fromarray(rows.astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BILINEAR).convert(mode)


def plain(jpeg: bytes, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Pillow's plain steps in full size."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))).convert("RGB")
    resized = upright.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized).astype(int)


@pytest.mark.parametrize(
    ("mode", "options"),
    [("CMYK", {}), ("RGB", {"progressive": True})],
    ids=["cmyk", "progressive"],
)
def test_jpeg_too_large_to_be_decoded_whole_has_nearly_the_same_pixels(
    mode: str, options: dict[str, object]
) -> None:
    jpeg = encoded(stripes(LARGE, mode), "JPEG", **options)

    assert np.abs(decode_image(jpeg, SIZE) - plain(jpeg)).max() <= 3
    assert decode_thumbnail(jpeg, 72).shape == (70, 72, 3)
    assert np.abs(decode_grey(jpeg, SIZE) - plain(jpeg)[..., 0]).max() <= 6


@pytest.mark.parametrize("turn", [1, 6])
def test_panorama_keeps_twice_the_models_size(turn: int) -> None:
    """An eighth of its shorter side would be less than the model's."""
    exif = Image.Exif()
    exif[0x0112] = turn
    jpeg = encoded(stripes((30_000, 1_704)), "JPEG", exif=exif)

    for wanted in ((280, 90), (90, 280)):
        difference = decode_image(jpeg, wanted) - plain(jpeg, wanted)
        assert np.abs(difference).max() <= 3


def test_jpeg_up_to_the_bound_is_decoded_whole() -> None:
    jpeg = encoded(stripes((10_000, 5_000)), "JPEG")

    assert (decode_image(jpeg, SIZE) == plain(jpeg)).all()


def test_photo_of_108_megapixels_takes_little_memory() -> None:
    jpeg = encoded(Image.new("L", (12_000, 9_000), 90), "JPEG")

    with DecodeSandbox(DecodeLimits(memory_bytes=64 * 2**20)) as sandbox:
        assert (sandbox.decode(jpeg, SIZE) == 90).all()


def test_progressive_jpeg_is_bounded_by_what_its_coefficients_take() -> None:
    jpeg = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True, subsampling=0)
    larger = frame_header(jpeg, 5, struct.pack(">HH", 10_000, 12_000))

    with pytest.raises(
        InvalidImageError, match=r"takes 720 MB .*: save it as a base"
    ) as (refused):
        decode_image(larger, SIZE)
    assert refused.value.code == "too_complex"


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (
            frame_header(grey(9, kind="JPEG"), 5, b"\x10\0\x10\1"),
            "the limit is 16,777,216 and",
        ),
        (huge_png(4096, 4097), "the limit is 16,777,216 and"),
    ],
    ids=["jpeg", "png"],
)
def test_limit_is_named_with_its_value(image: bytes, complaint: str) -> None:
    limit_pixels(4096 * 4096)

    for decode in (decode_image, decode_grey):
        with pytest.raises(InvalidImageError, match=complaint) as refused:
            decode(image, SIZE)
        assert refused.value.code == "too_many_pixels"


def test_formats_that_are_decoded_whole_have_a_limit_of_their_own() -> None:
    with pytest.raises(InvalidImageError, match=r"50,000,000 for a PNG .*as JPEG"):
        decode_image(huge_png(10_000, 10_000), SIZE)


def test_image_at_the_limit_is_taken() -> None:
    jpeg = grey(9, kind="JPEG")
    assert read_size("JPEG", jpeg) == (40, 30)

    limit_pixels(40 * 30)

    assert decode_image(jpeg, SIZE).shape == (*SIZE, 3)


def test_children_have_the_limit_of_their_parent() -> None:
    limit_pixels(1000)

    with (
        DecodeSandbox() as sandbox,
        pytest.raises(InvalidImageError, match="the limit is 1,000 and") as refused,
    ):
        sandbox.decode(grey(9), SIZE)
    assert refused.value.code == "too_many_pixels"


def test_api_and_workers_read_it_from_the_environment() -> None:
    for settings in (ServiceSettings, WorkerSettings):
        assert settings.from_env({}).max_pixels == MAX_PIXELS > 2 * WHOLE_PIXELS
        assert settings.from_env({"MAX_PIXELS": "123"}).max_pixels == 123
        with pytest.raises(
            InvalidRequestError, match="MAX_PIXELS='1e9' is not a whole"
        ):
            settings.from_env({"MAX_PIXELS": "1e9"})


def test_command_line_refuses_a_limit_that_is_none() -> None:
    run = CliRunner().invoke(main, ["networks"], env={"MAX_PIXELS": "0"})

    assert run.exit_code == 2
    assert "MAX_PIXELS='0' is not a whole number from 1 to" in run.stderr
