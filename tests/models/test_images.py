"""One table of what arrives and what the model sees; damaged input is explained."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from models.errors import InvalidImageError
from models.image_encoding import encode_thumbnail
from models.image_files import read_image_file
from models.images import decode_image
from tests.models.files import huge_png
from tests.pictures import encoded, grey, noise

SIZE = (24, 32)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_large_image_is_changed_in_parts_to_the_same_pixels(mode: str) -> None:
    """A square of 1.4 megapixels, above what is changed at a time."""
    values = np.random.default_rng(3).integers(0, 256, (1200, 1200, 4), np.uint8)
    options: dict[str, object] = {}
    if mode == "I;16":
        wide = values[..., :2].copy().view("<u2")[..., 0]
        image = Image.fromarray(wide)
        expected = Image.fromarray((wide / np.float32(257)).round().astype(np.uint8))
    else:
        image = Image.fromarray(values).convert(mode)
        options = {"transparency": 7} if mode == "P" else {}
        expected = Image.open(io.BytesIO(encoded(image, "PNG", **options))).convert(
            "RGBA"
        )
        expected = Image.alpha_composite(
            Image.new("RGBA", (1200, 1200), "white"), expected
        )

    pixels = decode_image(encoded(image, "PNG", **options), (1200, 1200))

    assert (pixels == np.asarray(expected.convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_each_format_becomes_rgb_of_the_models_size(kind: str) -> None:
    pixels = decode_image(grey(120, (60, 40), kind), SIZE)

    assert pixels.shape == (24, 32, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 120).max() <= 2


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("L", (9, 9), 70), (70, 70, 70)),
        (Image.new("1", (9, 9), 1), (255, 255, 255)),
        (Image.new("P", (9, 9), 0), None),
        (Image.new("I;16", (9, 9), 40000), (156, 156, 156)),
        (Image.new("RGBA", (9, 9), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (9, 9), (10, 0)), (255, 255, 255)),
    ],
    ids=["grey", "one-bit", "palette", "16-bit", "transparent", "opaque", "grey-alpha"],
)
def test_every_mode_has_its_stated_colour(
    image: Image.Image, colour: tuple[int, int, int] | None
) -> None:
    pixels = decode_image(encoded(image), SIZE)

    expected = colour or tuple(image.convert("RGB").getpixel((0, 0)))  # type: ignore[arg-type]
    assert (pixels == expected).all()


def test_cmyk_jpeg_is_converted() -> None:
    pixels = decode_image(encoded(Image.new("CMYK", (9, 9)), "JPEG"), SIZE)

    assert (pixels > 250).all()


def test_exif_orientation_is_applied() -> None:
    upright = Image.new("RGB", (40, 20), "black")
    upright.paste("white", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(upright, "PNG", exif=exif)

    pixels = decode_image(lying, (40, 20))

    assert pixels[5].mean() > 250
    assert pixels[35].mean() < 5


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 6, 8])
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("P", "PNG"),
        ("L", "PNG"),
        ("RGB", "WEBP"),
    ],
)
def test_pixels_are_those_of_pillows_plain_steps(
    mode: str, kind: str, orientation: int | None
) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    photo = Image.open(io.BytesIO(noise(1, (61, 37), "PNG"))).convert(mode)
    sent = encoded(photo, kind, exif=exif)

    plain = ImageOps.exif_transpose(Image.open(io.BytesIO(sent)))
    plain = plain if mode == "L" else plain.convert("RGB")
    plain = plain.resize(SIZE[::-1], Image.Resampling.BILINEAR).convert("RGB")
    assert (decode_image(sent, SIZE) == np.asarray(plain)).all()


def test_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    moving = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])

    assert (decode_image(moving, SIZE) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("image", "code", "complaint"),
    [
        (b"", "empty_image", "0 bytes"),
        (b"just some text", "unsupported_image", "a text file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_image", "JPEG, PNG"),
        (b"GIF89a" + bytes(40), "undecodable_image", "damaged"),
        (noise(1)[: len(noise(1)) // 2], "undecodable_image", "damaged"),
        (grey(7)[:40], "undecodable_image", "damaged"),
        (b"\xff\xd8\xff" + bytes(30), "undecodable_image", "damaged"),
        (huge_png(10_000, 10_000), "too_many_pixels", "10000 x 10000"),
        (huge_png(40_000, 8), "too_many_pixels", "a side"),
    ],
    ids=[
        "empty",
        "text",
        "eps",
        "gif",
        "half-jpeg",
        "half-png",
        "junk",
        "100MP",
        "long",
    ],
)
def test_unusable_image_is_refused_with_code_and_remedy(
    image: bytes, code: str, complaint: str
) -> None:
    with pytest.raises(InvalidImageError, match=complaint) as refused:
        decode_image(image, SIZE)

    assert refused.value.code == code


def test_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(grey(1))

    assert read_image_file(tmp_path / "a.png") == grey(1)


def test_link_fifo_folder_and_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(grey(1))
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()

    for name in ("link.png", "fifo.png", "folder.png", "none.png"):
        with pytest.raises(InvalidImageError) as refused:
            read_image_file(tmp_path / name)
        assert refused.value.code == "unreadable_file"


def test_refused_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    before = lowest_free_descriptor()

    for name in ("folder.png", "empty.png"):
        with pytest.raises(InvalidImageError):
            read_image_file(tmp_path / name)

    assert lowest_free_descriptor() == before


def lowest_free_descriptor() -> int:
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


def test_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(101))

    with pytest.raises(InvalidImageError, match="limit is 100"):
        read_image_file(tmp_path / "a.png", max_bytes=100)


def test_thumbnail_keeps_the_shape() -> None:
    thumbnail = Image.open(io.BytesIO(encode_thumbnail(noise(1, (400, 200)), 100)))

    assert thumbnail.size == (100, 50)
