"""Values as colours: maps and filters as pixels that an encoder takes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.images.codec import Pixels

HEAT: Final = np.array(
    [[20, 20, 70], [110, 30, 130], [205, 55, 95], [250, 140, 40], [255, 235, 120]],
    dtype=np.float64,
)
"""From cold to hot; lightness only rises, so it reads in grey and to every eye."""

MOST_OPAQUE: Final = 0.75


def heat_colours(heat: NDArray[Any]) -> NDArray[np.float64]:
    """*heat* 0..1 of any shape -> RGB 0..255, with a last axis of 3."""
    stops = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(heat, stops, HEAT[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1)


def overlay_heat(pixels: Pixels, heat: NDArray[Any]) -> Pixels:
    """*heat* [h, w] 0..1 enlarged and laid over a photo's *pixels* [H, W, 3].

    Where it is cold, the photo shows through unchanged.
    """
    enlarged = enlarge(heat, (pixels.shape[0], pixels.shape[1]))
    opacity = (MOST_OPAQUE * enlarged)[..., None]
    mixed = pixels * (1 - opacity) + heat_colours(enlarged) * opacity
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)


def enlarge(values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """[h, w] -> *size* (height, width), bilinear between the centres of cells."""
    rows = _interpolation(values.shape[0], size[0])
    columns = _interpolation(values.shape[1], size[1])
    return np.asarray(rows @ np.asarray(values, np.float64) @ columns.T)


def shrink(values: NDArray[Any], longest_side: int) -> NDArray[np.float64]:
    """[h, w] -> means of square blocks, until no side is above *longest_side*."""
    block = -(-max(values.shape) // longest_side)
    height, width = (side - side % block for side in values.shape)
    cut = np.asarray(values[:height, :width], np.float64)
    blocks = cut.reshape(height // block, block, width // block, block)
    return np.asarray(blocks.mean(axis=(1, 3)))


def stretch(values: NDArray[Any]) -> NDArray[np.float64]:
    """*values* moved and scaled to 0..1; all 0 where they are all the same."""
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / ((high - low) or 1.0), dtype=np.float64)


def signed_colours(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values around 0 -> 0..255 with 0 at the middle grey, the largest at an end."""
    largest = float(np.abs(values).max()) or 1.0
    return np.asarray((127.5 + 127.5 * values / largest).round(), dtype=np.uint8)


def _interpolation(before: int, after: int) -> NDArray[np.float64]:
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    places = np.clip(centres, 0, before - 1)
    distances = np.abs(places[:, None] - np.arange(before))
    return np.asarray(np.maximum(0, 1 - distances))
