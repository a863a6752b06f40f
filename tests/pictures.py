"""Generated images for tests: no binary files in the repository."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def grey(brightness: int, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An encoded image of one brightness (0..255); size is (width, height)."""
    return encoded(Image.new("RGB", size, (brightness,) * 3), kind)


def noise(seed: int, size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    height, width = size[1], size[0]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return encoded(Image.fromarray(pixels.astype(np.uint8)), kind)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def write_folder(folder: Path, count: int) -> list[int]:
    """<id>.png for ids 1..count; returns each photo's brightness, by id."""
    folder.mkdir(parents=True, exist_ok=True)
    levels = [(number * 37) % 256 for number in range(1, count + 1)]
    for number, level in enumerate(levels, start=1):
        (folder / f"{number}.png").write_bytes(grey(level))
    return levels
