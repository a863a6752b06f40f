"""Damages image files and decodes them: `python -m tests.models.images.mutations FIRST LAST`.

It runs in a process of its own, so that a decoder that crashes or hangs is seen. Prints
each file's number before its turn and what came of it after: "pixels" or an error's code.
File N is the same in every run.
"""

from __future__ import annotations

import signal
import sys

import numpy as np
from PIL import Image

from models.errors import InvalidImageError
from models.images.codec import decode_image
from tests.models.images.handmade import bmp
from tests.pictures import encoded

SIZE = (24, 32)
SECONDS_EACH = 5.0
PIXELS = "pixels"


def originals() -> list[bytes]:
    """One small file of each kind, some with what readers stumble over."""
    first, *others = [_frame(seed) for seed in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    several = {"save_all": True, "append_images": others}
    return [
        encoded(first, "JPEG"),
        encoded(first, "JPEG", progressive=True, exif=exif),
        encoded(first, "MPO", **several),
        encoded(first, "PNG", exif=exif, icc_profile=bytes(300)),
        encoded(first.convert("P"), "PNG", transparency=3),
        encoded(first, "PNG", **several),
        encoded(first, "WEBP", exif=exif),
        encoded(first, "WEBP", lossless=True, **several),
        encoded(first, "GIF", comment=b"hello", **several),
        encoded(first, "BMP"),
        encoded(first.convert("P"), "BMP"),
        bmp((40, 30), 8, (b"\x14\1\0\5abcde\0\x0f\2\0\0") * 30 + b"\0\1", 1, bytes(9)),
        encoded(first, "WEBP", exif=exif, xmp=b'tiff:Orientation="3"', **several),
    ]


def mutated(files: list[bytes], number: int) -> bytes:
    """File *number*: one of *files*, damaged once to three times."""
    generator = np.random.default_rng([7, number])
    image = bytearray(files[number % len(files)])
    for _ in range(generator.integers(1, 4)):
        if len(image) > 16:
            damage = _DAMAGES[generator.integers(len(_DAMAGES))]
            image = damage(image, generator)
    return bytes(image)


def _frame(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (18, 24, 3))
    return Image.fromarray(pixels.astype(np.uint8)).resize((48, 36))


def _flip_bits(image: bytearray, generator: np.random.Generator) -> bytearray:
    for place in generator.integers(0, len(image), generator.integers(1, 20)):
        image[place] ^= 1 << int(generator.integers(8))
    return image


def _flip_in_header(image: bytearray, generator: np.random.Generator) -> bytearray:
    for place in generator.integers(0, min(len(image), 64), 2):
        image[place] = int(generator.integers(256))
    return image


def _truncate(image: bytearray, generator: np.random.Generator) -> bytearray:
    return image[: generator.integers(1, len(image))]


def _splice(image: bytearray, generator: np.random.Generator) -> bytearray:
    start, stop = sorted(generator.integers(0, len(image), 2))
    to = generator.integers(0, len(image))
    return image[:to] + image[start:stop] + image[to:]


def _cut_out(image: bytearray, generator: np.random.Generator) -> bytearray:
    start, stop = sorted(generator.integers(0, len(image), 2))
    return image[:start] + image[stop:]


def _edit_length(image: bytearray, generator: np.random.Generator) -> bytearray:
    """Any two or four bytes become a size that is 0, small, or the largest."""
    place = int(generator.integers(0, len(image) - 4))
    width = int(generator.choice([2, 4]))
    value = int(generator.choice([0, 1, 2, 255, 256**width - 1, 2 ** (8 * width - 1)]))
    length = value.to_bytes(width)
    image[place : place + width] = length if generator.integers(2) else length[::-1]
    return image


def _repeat(image: bytearray, generator: np.random.Generator) -> bytearray:
    start = int(generator.integers(0, len(image) - 8))
    part = image[start : start + int(generator.integers(4, 200))]
    return image[:start] + part * int(generator.integers(2, 60)) + image[start:]


_DAMAGES = (
    _flip_bits,
    _flip_in_header,
    _truncate,
    _splice,
    _cut_out,
    _edit_length,
    _repeat,
)


def outcome(image: bytes) -> str:
    """Decode *image*; "pixels", or the code it was refused with."""
    try:
        pixels = decode_image(image, SIZE)
    except InvalidImageError as error:
        return error.code
    assert pixels.shape == (*SIZE, 3)
    assert pixels.dtype == np.uint8
    return PIXELS


def main(first: int, last: int) -> None:
    files = originals()
    for number in range(first, last):
        print(number, end=" ", flush=True)  # noqa: T201
        # Nobody catches this signal: a decoder that hangs ends the process.
        signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
        print(outcome(mutated(files, number)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
