"""Rotation, shift, shear, zoom and flips as one affine map, sampled once.

Layers that resample one after another blur the photo a little more each time.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from export.data.augmentation.draws import Draws
from export.data.augmentation.options import Augmentation
from models.images.codec import Pixels

_IDENTITY: Final = np.eye(3)


def affine_maps(
    draws: Draws, augmentation: Augmentation, size: tuple[int, int]
) -> NDArray[np.float64]:
    """For N photos of *size* (height, width): [N, 3, 3], from new to old (x, y, 1).

    As in Keras 1.1 the photo is rotated, then shifted, sheared and zoomed, and flipped
    last; but about its exact centre, ((width - 1) / 2, (height - 1) / 2).
    """
    height, width = size
    right = draws.width_shift * augmentation.width_shift * width
    down = draws.height_shift * augmentation.height_shift * height
    steps = [
        _moves((width - 1) / 2, (height - 1) / 2),
        _rotations(np.radians(draws.rotation * augmentation.rotation)),
        _moves(right, down),
        _shears(np.radians(draws.shear * augmentation.shear)),
        _scales(
            1 + draws.zoom_width * augmentation.zoom,
            1 + draws.zoom_height * augmentation.zoom,
        ),
        _scales(
            _signs(draws.horizontal_flip, augmentation.horizontal_flip),
            _signs(draws.vertical_flip, augmentation.vertical_flip),
        ),
        _moves((1 - width) / 2, (1 - height) / 2),
    ]
    return reduce(np.matmul, steps)


def resample(
    pixels: Pixels, maps: NDArray[np.float64], augmentation: Augmentation
) -> NDArray[np.float32]:
    """*pixels* [N, H, W, 3] seen through *maps* [N, 3, 3], bilinear, not rounded.

    With fill "wrap" the seam is not interpolated, and a second copy is wrong; both are
    TensorFlow's.
    """
    levels = pixels.astype(np.float32)
    if (maps == _IDENTITY).all():
        return levels
    # Tiny sines of 180 degrees would make exact positions inexact.
    rows = maps.round(9).reshape(-1, 9)[:, :8].astype(np.float32)
    changed = keras.ops.image.affine_transform(
        levels,
        rows,
        interpolation="bilinear",
        fill_mode=augmentation.fill,
        fill_value=augmentation.fill_value,
        data_format="channels_last",
    )
    return np.asarray(keras.ops.convert_to_numpy(changed))


def _moves(x: Any, y: Any) -> NDArray[np.float64]:
    return _maps({(0, 2): x, (1, 2): y})


def _rotations(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    cosine, sine = np.cos(angles), np.sin(angles)
    return _maps({(0, 0): cosine, (0, 1): sine, (1, 0): -sine, (1, 1): cosine})


def _shears(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    return _maps({(0, 0): np.cos(angles), (1, 0): -np.sin(angles)})


def _scales(x: Any, y: Any) -> NDArray[np.float64]:
    return _maps({(0, 0): x, (1, 1): y})


def _signs(draws: NDArray[np.float64], allowed: bool) -> NDArray[np.float64]:
    return np.where((draws > 0) & allowed, -1.0, 1.0)


def _maps(entries: dict[tuple[int, int], Any]) -> NDArray[np.float64]:
    count = max(np.size(value) for value in entries.values())
    maps = np.tile(_IDENTITY, (count, 1, 1))
    for (row, column), value in entries.items():
        maps[:, row, column] = value
    return maps
