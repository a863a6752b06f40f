"""Generated JPEG photos for benchmarks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

LARGE = (500, 375)
SMALL = (160, 120)

_DISTINCT = 64


def camera_jpeg(seed: int, size: tuple[int, int] = LARGE) -> bytes:
    """A JPEG with detail at all scales, about as large as a photo of that size."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    soft = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.2))
    stream = io.BytesIO()
    soft.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def link_folder(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Put *count* photos into *folder*; all but a few are links."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        path = folder / f"{number}.jpg"
        if number <= _DISTINCT:
            path.write_bytes(camera_jpeg(number, size))
        else:
            path.hardlink_to(folder / f"{1 + number % _DISTINCT}.jpg")


def write_folder(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        (folder / f"{number}.jpg").write_bytes(camera_jpeg(number))
