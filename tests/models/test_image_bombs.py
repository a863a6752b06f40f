"""Small files that would be large or slow to decode: refused, or decoded at once."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from models.errors import InvalidImageError
from models.image_run_lengths import MAX_RLE_BYTES
from models.image_structure import MAX_PARTS, MAX_SCANS, strip_metadata
from models.images import decode_image, is_costly
from tests.models.bombs import BOMBS, JPEGS, many_code_groups, noisy
from tests.models.files import (
    bmp,
    gif,
    gif_run,
    huge_png,
    jpeg_with_scans,
    png,
    png_chunk,
    png_header,
)
from tests.models.mutations import PIXELS, mutated, originals
from tests.pictures import encoded, grey, noise

SIZE = (24, 32)
FLOOD = 100_000
SECONDS = 1.0
"""Of processor time, for what ends within hundredths of one."""

MOST_SECONDS = 1.0
MOST_MEGABYTES = 150
OUTCOMES = {
    *(PIXELS, "undecodable_image", "unsupported_image"),
    *("too_complex", "too_many_pixels"),
}

SMALL_GIF = [((4, 4), gif_run(2, 16))]
PROGRESSIVE = encoded(Image.new("L", (64, 48), 90), "JPEG", progressive=True)


def webp(width: int, height: int) -> bytes:
    """An animation on a canvas of that size; its frames are small."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    image = bytearray(
        encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    )
    canvas = image.index(b"VP8X") + 12
    image[canvas : canvas + 3] = struct.pack("<I", width - 1)[:3]
    image[canvas + 3 : canvas + 6] = struct.pack("<I", height - 1)[:3]
    return bytes(image)


def padded_jpeg(segment: bytes, count: int = FLOOD) -> bytes:
    jpeg = grey(9, kind="JPEG")
    return jpeg[:2] + segment * count + jpeg[2:]


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[str, float, int]]:
    """For each bomb what decoding came to, its seconds of a core, and its most MB."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.models.bombs"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = [line.split() for line in run.stdout.splitlines()]
    return {
        name: (came, float(seconds), int(megabytes))
        for name, came, seconds, megabytes in lines
    }


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_costs_little(
    bomb: str, measured: dict[str, tuple[str, float, int]]
) -> None:
    came, seconds, megabytes = measured[bomb]

    assert came in OUTCOMES
    assert seconds <= MOST_SECONDS
    assert megabytes <= MOST_MEGABYTES


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (png_header(65_000, 65_000) + png_chunk(b"IDAT"), "too_many_pixels"),
        (huge_png(10_000, 10_000), "too_many_pixels"),
        (png(b"\0", 8, 3), "undecodable_image"),
        (png(b"\0", 8, 0, png_chunk(b"abCd") * FLOOD), "too_complex"),
        (gif((65_535, 65_535), SMALL_GIF), "too_many_pixels"),
        (gif((4, 4), [((65_535, 65_535), b"\x05")]), "too_many_pixels"),
        (gif((4, 4), SMALL_GIF, b"!\xfe\0" * FLOOD), "too_complex"),
        (gif((4, 4), SMALL_GIF, b"!\xff" + b"\x01a" * FLOOD + b"\0"), "too_complex"),
        (gif((4, 4), SMALL_GIF, b"?" * FLOOD), "too_complex"),
        (padded_jpeg(b"\xff\xfe\0\x02"), "too_complex"),
        (JPEGS["small-quantisation-tables"](), "too_complex"),
        (JPEGS["small-frames"](), "undecodable_image"),
        (jpeg_with_scans(PROGRESSIVE, 5000), "too_complex"),
        (webp(16_383, 16_383), "too_many_pixels"),
        (webp(8_000, 8_000), "too_many_pixels"),
        (bmp((4000, 4000), 8, b"\0\0" * 4000, compression=1), "too_complex"),
        (bmp((99, 99), 4, b"\1\1" * MAX_RLE_BYTES, compression=2), "too_complex"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bomb_is_refused_with_its_code(image: bytes, code: str) -> None:
    with pytest.raises(InvalidImageError) as refused:
        decode_image(image, SIZE)

    assert refused.value.code == code


@pytest.mark.parametrize(
    "image",
    [
        jpeg_with_scans(PROGRESSIVE, MAX_SCANS - PROGRESSIVE.count(b"\xff\xda")),
        grey(9, kind="JPEG") + b"\xff\xda" * FLOOD,
        PROGRESSIVE + b"\xff\xda" * FLOOD,
        padded_jpeg(b"\xff\xfe\0\x02", MAX_PARTS - 100),
        padded_jpeg(b"\xff"),
        png(b"\0", 8, 0, png_chunk(b"abCd") * (MAX_PARTS - 100)),
        png(b"\0", 8, 0, png_chunk(b"acTL", b"\x7f\xff\xff\xff\0\0\0\0")),
        gif((4, 4), SMALL_GIF * 5000),
        bmp((99, 99), 8, b"\x63\x05\0\0" * 99 + b"\0\1", 1, bytes(1024)),
    ],
    ids=[
        "most-scans",
        "video-behind-a-photo",
        "video-behind-a-progressive-photo",
        "most-segments",
        "filling",
        "most-chunks",
        "two-billion-frames",
        "many-frames",
        "run-length-bmp",
    ],
)
def test_unusual_file_is_decoded_at_once(image: bytes) -> None:
    begun = time.process_time()

    assert decode_image(image, SIZE).shape == (*SIZE, 3)
    assert time.process_time() - begun < SECONDS


def test_ordinary_photo_is_hardly_looked_at() -> None:
    photo = noise(1, (500, 375))
    begun = time.process_time()
    for _ in range(1000):
        strip_metadata("JPEG", photo)

    assert time.process_time() - begun < 0.1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_ordinary_photo_is_not_costly(kind: str) -> None:
    assert not is_costly(noise(1, (500, 375), kind)[: 1024 * 1024])


def test_progressive_or_lossless_photo_is_not_costly() -> None:
    assert not is_costly(PROGRESSIVE)
    assert not is_costly(encoded(noisy(430), "WEBP", lossless=True))


@pytest.mark.parametrize(
    "image",
    [
        noise(1, (500, 375)) + bytes(1024 * 1024),
        encoded(Image.new("L", (3000, 2000)), "JPEG"),
        huge_png(3000, 2000),
        encoded(Image.new("L", (3000, 2000)), "GIF"),
        encoded(Image.new("L", (3000, 2000)), "WEBP"),
        encoded(Image.new("L", (3000, 2000)), "WEBP", lossless=True),
        many_code_groups(600),
        webp(3000, 2000),
        bmp((3000, -2000), 24, b""),
        noise(1, (500, 375)).replace(b"\xff\xc0", b"\xff\xc9", 1),
        bmp((9, 9), 8, b"\0\1", compression=1),
        noise(1, (500, 375), "WEBP")[:20],
        bmp((9, 9), 8, b"")[:27],
        b"\xff\xd8\xff",
        b"BM",
    ],
)
def test_large_unusual_or_damaged_image_is_costly(image: bytes) -> None:
    assert is_costly(image)


def test_what_no_decoder_gets_is_not_costly() -> None:
    assert not is_costly(b"")
    assert not is_costly(b"%PDF-1.7")


def test_damaged_header_is_costly_or_not_but_no_error() -> None:
    files = originals()
    for number in range(1000):
        image = mutated(files, number)
        for length in (number % 60, len(image)):
            assert is_costly(image[:length]) in (True, False)
