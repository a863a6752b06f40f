"""The chance in augmentation: each photo's own, in whatever batch or order it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_COUNT: Final = 12


@dataclass(frozen=True)
class Draws:
    """How far each of N photos is changed, in units of what is allowed, -1 to 1.

    Arrays are [N]. A photo is flipped where its draw is positive.
    """

    rotation: NDArray[np.float64]
    width_shift: NDArray[np.float64]
    height_shift: NDArray[np.float64]
    shear: NDArray[np.float64]
    zoom_width: NDArray[np.float64]
    zoom_height: NDArray[np.float64]
    horizontal_flip: NDArray[np.float64]
    vertical_flip: NDArray[np.float64]
    brightness: NDArray[np.float64]
    red: NDArray[np.float64]
    green: NDArray[np.float64]
    blue: NDArray[np.float64]


def draw(seed: int, round_number: int, positions: NDArray[np.integer]) -> Draws:
    """The draws of the photos at *positions* [N] in a round, such as an epoch.

    A photo's depend on the three numbers alone, and every change has its own, so that
    allowing one more leaves the others as they were.
    """
    values = np.empty((len(positions), _COUNT))
    for row, position in zip(values, positions, strict=True):
        key = (seed, round_number, int(position))
        row[:] = np.random.default_rng(key).uniform(-1, 1, _COUNT)
    return from_rows(values)


def from_rows(values: NDArray[np.float64]) -> Draws:
    """Draws from rows [N, 12], columns in the order of the fields."""
    return Draws(*values.T)
