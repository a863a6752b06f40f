"""From a training photo to another one that shows the same."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.data.augmentation.draws import Draws, draw
from export.data.augmentation.geometry import affine_maps, resample
from export.data.augmentation.options import Augmentation
from models.images.codec import Pixels

_CHUNK: Final = 32
"""Photos in float32 at a time: memory stays small, however many there are."""


def augment(
    pixels: Pixels,
    augmentation: Augmentation,
    seed: int,
    round_number: int,
    positions: NDArray[np.integer],
) -> Pixels:
    """*pixels* uint8 [N, H, W, 3], each varied within *augmentation*'s limits.

    A photo at the same one of *positions* [N], in the same round (an epoch, say) and of
    the same seed comes out the same in every batch, order and process; all three are 0
    or more.
    """
    augmented = np.empty_like(pixels)
    for start in range(0, len(pixels), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        draws = draw(seed, round_number, positions[chunk])
        augmented[chunk] = apply_draws(pixels[chunk], augmentation, draws)
    return augmented


def preview_grid(
    pixels: Pixels, augmentation: Augmentation, seed: int, columns: int = 8
) -> NDArray[np.uint8]:
    """Each of *pixels* [N, H, W, 3] and its variants: [N, columns, H, W, 3].

    The first column is the original; column c is round c, positions from 0.
    """
    positions = np.arange(len(pixels))
    rounds = [
        augment(pixels, augmentation, seed, column, positions)
        for column in range(1, columns)
    ]
    return np.stack([pixels, *rounds], axis=1)


def apply_draws(pixels: Pixels, augmentation: Augmentation, draws: Draws) -> Pixels:
    """*pixels* [N, H, W, 3] changed by their *draws*; geometry first, then colour."""
    maps = affine_maps(draws, augmentation, pixels.shape[1:3])
    levels = resample(pixels, maps, augmentation)
    if augmentation.channel_shift:
        shifts = np.stack([draws.red, draws.green, draws.blue], axis=-1)
        levels = _shift_channels(levels, shifts * augmentation.channel_shift)
    if augmentation.brightness:
        factors = 1 + draws.brightness * augmentation.brightness
        levels = levels * factors.astype(np.float32)[:, None, None, None]
    return np.asarray(levels.clip(0, 255).round().astype(np.uint8))


def _shift_channels(
    levels: NDArray[np.float32], shifts: NDArray[np.float64]
) -> NDArray[np.float32]:
    # Limited to the photo's own range, as Keras 1.1 did: a dark photo stays dark.
    lowest = levels.min(axis=(1, 2, 3), keepdims=True)
    highest = levels.max(axis=(1, 2, 3), keepdims=True)
    shifted = levels + shifts.astype(np.float32)[:, None, None, :]
    return np.asarray(shifted.clip(lowest, highest))
