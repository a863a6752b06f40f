"""PNG transparency at every depth: exact pixels, on white."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import pytest

from models.errors import InvalidImageError
from models.images import decode_grey, decode_image, decode_thumbnail
from tests.models.files import PNG_START, png_chunk

SIDE = 8
ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and their steps, of the passes of an interlaced PNG."""
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def picture(
    depth: int,
    colour: int,
    columns: Sequence[tuple[int, ...]],
    *chunks: bytes,
    interlaced: bool = False,
) -> bytes:
    """A square whose rows all are *columns*, samples of *depth* bits."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        b"\0" + packed(columns[first::step], depth)
        for first, top, step, down in passes
        for _ in range(top, SIDE, down)
    )
    fields = (SIDE, SIDE, depth, colour, 0, 0, interlaced)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"".join([PNG_START, header, *chunks, data, png_chunk(b"IEND")])


def packed(pixels: Sequence[tuple[int, ...]], depth: int) -> bytes:
    digits = "".join(f"{sample:0{depth}b}" for pixel in pixels for sample in pixel)
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8)


def clear(*levels: int) -> bytes:
    return png_chunk(b"tRNS", struct.pack(f">{len(levels)}H", *levels))


def in_palette(*alphas: int) -> tuple[bytes, bytes]:
    colours = bytes((10, 20, 30, 40, 50, 60))
    return png_chunk(b"PLTE", colours), png_chunk(b"tRNS", bytes(alphas))


CASES: dict[str, tuple[int, int, list[tuple[int, ...]], tuple[bytes, ...], list[int]]]
CASES = {
    # name: depth, colour, two pixels, chunks; what the model sees of their first levels
    "grey-1": (1, GREY, [(0,), (1,)], (clear(0),), [255, 255]),
    "grey-1-white": (1, GREY, [(0,), (1,)], (clear(1),), [0, 255]),
    "grey-2": (2, GREY, [(1,), (2,)], (clear(1),), [255, 170]),
    "grey-4": (4, GREY, [(3,), (4,)], (clear(3),), [255, 68]),
    "grey-4-low-bits-count": (4, GREY, [(3,), (4,)], (clear(0xFFF3),), [255, 68]),
    "grey-4-of-8-bits": (4, GREY, [(3,), (4,)], (clear(51),), [255, 68]),
    "grey-8": (8, GREY, [(3,), (4,)], (clear(3),), [255, 4]),
    "grey-16": (16, GREY, [(0x1234,), (0x1235,)], (clear(0x1234),), [255, 18]),
    "rgb-8": (8, RGB, [(3, 4, 5), (3, 4, 6)], (clear(3, 4, 5),), [255, 3]),
    "rgb-16": (
        16,
        RGB,
        [(0x1234, 5, 6), (0x1235, 5, 6)],
        (clear(0x1234, 5, 6),),
        [255, 18],
    ),
    "rgb-16-upper-bits": (
        16,
        RGB,
        [(0x1234, 5, 6), (0x1334, 5, 6)],
        (clear(0x1234, 5, 6),),
        [255, 19],
    ),
    "palette-1": (1, PALETTE, [(0,), (1,)], in_palette(0), [255, 40]),
    "palette-2-half": (2, PALETTE, [(0,), (1,)], in_palette(255, 51), [10, 212]),
    "palette-4": (4, PALETTE, [(0,), (1,)], in_palette(255, 0), [10, 255]),
    "palette-8": (8, PALETTE, [(0,), (1,)], in_palette(0, 255), [255, 40]),
    "grey-alpha-8": (8, GREY_ALPHA, [(9, 0), (9, 255)], (), [255, 9]),
    "grey-alpha-16": (16, GREY_ALPHA, [(0x9FF, 0), (0x9FF, 0xFFFF)], (), [255, 9]),
    "rgba-16": (16, RGBA, [(0x9FF, 0, 0, 0), (0x9FF, 0, 0, 65535)], (), [255, 9]),
    # What is no colour of the image, or damaged, is ignored.
    "short": (8, GREY, [(3,), (4,)], (png_chunk(b"tRNS", b"\3"),), [3, 4]),
    "empty": (8, RGB, [(3, 3, 3), (4, 4, 4)], (png_chunk(b"tRNS"),), [3, 4]),
    "long": (8, GREY, [(3,), (4,)], (clear(3, 3, 3),), [3, 4]),
    "checksum": (8, GREY, [(3,), (4,)], (clear(3)[:-4] + bytes(4),), [3, 4]),
    "palette-checksum": (
        8,
        PALETTE,
        [(0,), (1,)],
        (in_palette()[0], png_chunk(b"tRNS", b"\0")[:-4] + bytes(4)),
        [10, 40],
    ),
    "beside-alpha": (8, RGBA, [(3, 3, 3, 255)] * 2, (clear(3, 3, 3),), [3, 3]),
}


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_transparent_pixels_are_white_and_others_keep_their_colour(
    case: str, interlaced: bool
) -> None:
    depth, colour, pixels, chunks, expected = CASES[case]
    image = picture(depth, colour, pixels * 4, *chunks, interlaced=interlaced)

    for decoded in (
        decode_image(image, (SIDE, SIDE))[..., 0],
        decode_thumbnail(image, SIDE)[..., 0],
    ):
        assert (decoded == expected * 4).all()


def test_grey_copies_show_it_too() -> None:
    image = picture(4, GREY, [(3,)] * SIDE, clear(3))

    assert (decode_grey(image, (SIDE, SIDE)) == 255).all()


@pytest.mark.parametrize("depth", [0, 3, 32])
def test_depth_that_does_not_exist_is_damage(depth: int) -> None:
    image = picture(depth or 1, GREY, [(0,)] * SIDE, clear(3))
    fields = struct.pack(">IIBBBBB", SIDE, SIDE, depth, GREY, 0, 0, 0)
    image = PNG_START + png_chunk(b"IHDR", fields) + image[33:]

    with pytest.raises(InvalidImageError) as refused:
        decode_image(image, (SIDE, SIDE))
    assert refused.value.code == "undecodable_image"


@pytest.mark.parametrize(
    ("palette", "complaint"),
    [
        (b"", "no palette"),
        (png_chunk(b"PLTE"), "no palette"),
        (png_chunk(b"PLTE", b"abcd"), "no palette"),
        (png_chunk(b"PLTE", b"abc")[:-4] + bytes(4), "the checksum of its palette"),
    ],
    ids=["none", "empty", "of-broken-colours", "checksum"],
)
def test_palette_that_cannot_be_used_is_damage(palette: bytes, complaint: str) -> None:
    with pytest.raises(InvalidImageError, match=complaint) as refused:
        decode_image(picture(8, PALETTE, [(0,)] * SIDE, palette), (SIDE, SIDE))
    assert refused.value.code == "undecodable_image"
