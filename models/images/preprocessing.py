"""Preprocessing: the version of the way from an encoded image to a model's pixels.

A run is trained on the pixels of one version, and its models get them for ever: the card, the
plan of a run and the manifest of a folder job name it. So a newer Kennel changes no answer
of a model that is published already.

The versions differ in how much of a large JPEG is decoded. libjpeg can decode it at 1/2, 1/4
or 1/8 of its width and height, which costs a fraction of the time and memory: it takes the
lowest frequencies of each block of 8 x 8 pixels (its scaled DCT; Pillow calls it draft).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom edge of the part of an image that is resized."""

WHOLE_PIXELS: Final = 50_000_000
"""Most pixels that are decoded of any image, whatever the version and the model's size."""

FRACTIONS: Final = (8, 4, 2, 1)
"""Parts of its width and height at which libjpeg decodes a JPEG."""

FROM_THE_RIGHT: Final = (2, 3, 6, 7)
FROM_THE_BOTTOM: Final = (3, 4, 7, 8)
SIDEWAYS: Final = (5, 6, 7, 8)
"""Orientations that turn the left edge of an image to the right, its upper one down, and
those that swap width and height."""


class Preprocessing(StrEnum):
    """A version; its value is part of the keys of pixel caches."""

    WHOLE = "exif,white,bilinear-antialias,3"
    """JPEGs up to `WHOLE_PIXELS` are decoded at their full size."""
    DRAFTED = "exif,white,drafted,bilinear-antialias,4"
    """JPEGs are decoded at the smallest fraction that is twice the model's size."""


NEWEST: Final = Preprocessing.DRAFTED
"""The version of what is trained now."""


def least_size(
    size: tuple[int, int], least: tuple[int, int], orientation: int = 1
) -> tuple[int, int]:
    """The least (width, height) to decode of a JPEG of *size*, as it lies in the file.

    The upright one has to be at least *least* (width, height), but however large the
    model's images are, no more than `WHOLE_PIXELS` are decoded.
    """
    width, height = size
    lying = least[::-1] if orientation in SIDEWAYS else least
    part = next(
        p for p in reversed(FRACTIONS) if width * height <= WHOLE_PIXELS * p * p
    )
    return min(lying[0], width // part), min(lying[1], height // part)


def turn_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """*box*, which begins at 0, after its image of *size* was made upright.

    The last column and row of a fraction may stand for less than a whole pixel.
    """
    (width, height), (_, _, right, bottom) = size, box
    if orientation in SIDEWAYS:
        width, height, right, bottom = height, width, bottom, right
    left = width - right if orientation in FROM_THE_RIGHT else 0
    top = height - bottom if orientation in FROM_THE_BOTTOM else 0
    return left, top, left + right, top + bottom


def drafted_pixels(size: tuple[int, int], least: tuple[int, int]) -> int:
    """At most how many pixels are decoded of a JPEG of *size*, whichever way it lies."""
    width, height = size
    counts = []
    for wanted in (least, least[::-1]):
        across, down = least_size(size, wanted)
        scale = min(width // across, height // down)
        part = next((each for each in FRACTIONS if each <= scale), 1)
        counts.append(-(-width // part) * -(-height // part))
    return max(counts)
