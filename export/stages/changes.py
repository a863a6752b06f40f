"""What is done to pixels before a network sees them: flips and augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.data.augmentation import Augmentation, augment
from models.images.codec import Pixels
from models.networks.network import flip


@dataclass(frozen=True)
class PixelChange:
    """What is done to pixels before the network sees them.

    ``apply`` maps (pixels uint8 [N, H, W, 3], row numbers [N]) to pixels; ``key`` names
    everything that it depends on; ``name`` is for progress bars.
    """

    name: str
    key: tuple[object, ...]
    apply: Callable[[Pixels, NDArray[np.integer]], Pixels]


def seen_from(view: str) -> PixelChange:
    """The photo flipped as *view* says; "none" leaves it."""
    name = "" if view == "none" else f", flipped {view}"
    return PixelChange(name, ("view", view), lambda pixels, _rows: flip(pixels, view))


def augmented(augmentation: Augmentation, seed: int, number: int) -> PixelChange:
    """Augmented pass or epoch *number* (from 1); the same for the same seed."""
    key = ("augmented", repr(augmentation), seed, number)
    return PixelChange(
        f", augmented pass {number}",
        key,
        lambda pixels, rows: augment(pixels, augmentation, seed, number, rows),
    )
