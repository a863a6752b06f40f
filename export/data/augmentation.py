"""Augmentation: training photos varied at random, never validation or test photos.

A photo's changes depend on the seed, the round and its position alone, in whatever batch
or order it comes. Rotation, shift, shear, zoom and flips are one affine map, sampled
once: resampling again and again blurs the photo a little more each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequestError
from models.images.codec import Pixels

Fill = Literal["nearest", "reflect", "wrap", "constant"]
_HIGHEST: Final = {
    "rotation": 180.0,
    "width_shift": 1.0,
    "height_shift": 1.0,
    "shear": 60.0,
    "zoom": 0.9,
    "channel_shift": 255.0,
    "brightness": 1.0,
    "fill_value": 255.0,
}
_CHUNK: Final = 32
"""Photos in float32 at a time, so that memory stays small."""

_DRAWS: Final = 12
_IDENTITY: Final = np.eye(3)


@dataclass(frozen=True)
class Augmentation:
    """Limits of the random changes, which are drawn evenly between them; 0: no change.

    The options are those of Keras 1.1's ImageDataGenerator, but shear is in degrees.

    Attributes:
        rotation: degrees either way.
        width_shift: share of the width either way.
        height_shift: share of the height either way.
        shear: degrees either way.
        zoom: share of the size either way, drawn separately for width and height.
        channel_shift: levels of 0..255 either way, drawn separately for each channel,
            and limited to the photo's own range.
        horizontal_flip: left and right swapped in half of the photos; not for classes
            that differ in left and right.
        vertical_flip: top and bottom swapped in half of the photos.
        brightness: share of every level either way.
        fill: pixels outside the photo: its "nearest" edge, a "reflect"ed or "wrap"ped
            copy, or a "constant".
        fill_value: level of the constant.

    Raises:
        InvalidRequestError: a value is out of range; the message names both.
    """

    rotation: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    channel_shift: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness: float = 0.0
    fill: Fill = "nearest"
    fill_value: float = 0.0

    def __post_init__(self) -> None:
        for name, highest in _HIGHEST.items():
            value = getattr(self, name)
            if not 0 <= value <= highest:
                message = f"{name}={value:g} is not possible: use 0 to {highest:g}"
                raise InvalidRequestError(message)
            # 15 and 15.0 are the same augmentation, also in the key of the cache.
            object.__setattr__(self, name, float(value))
        if self.fill not in get_args(Fill):
            known = ", ".join(get_args(Fill))
            raise InvalidRequestError(f"no fill {self.fill!r}: choose one of {known}")


def _degrees(radians: float) -> float:
    return round(math.degrees(radians), 2)


AUGMENTATIONS: Final[Mapping[str, Augmentation]] = MappingProxyType(
    {
        "none": Augmentation(),
        "demo": Augmentation(10, 0.1, 0.1, _degrees(0.15), 0.1, 10, True),
        "dogscats": Augmentation(15, 0.1, 0.1, 0, 0.1, 0, True),
        "ensemble": Augmentation(10, 0.05, 0.05, _degrees(0.05), 0.05, 10, True),
        "statefarm": Augmentation(15, 0.1, 0.05, _degrees(0.1), 0, 20),
        "statefarm-conv": Augmentation(8, 0.08, 0.04, _degrees(0.03), 0, 10),
        "mnist": Augmentation(8, 0.08, 0.08, _degrees(0.3), 0.08),
        "flips": Augmentation(horizontal_flip=True, vertical_flip=True),
        "photos": Augmentation(
            15, 0.1, 0.1, 5, 0.15, 10, True, brightness=0.15, fill="reflect"
        ),
    }
)
"""From the notebooks of the fast.ai course (2016): lesson 3 ("demo", "dogscats"), the
dogs and cats ensemble, State Farm (left and right are classes, so no flips) and MNIST,
with shears converted from radians to degrees. "flips" is for subjects without up and
down, such as cells; "photos" for other photos."""


def parse_augmentation(text: str) -> Augmentation:
    """The augmentation of a name, options, or both: ``dogscats,rotation=20``.

    Raises:
        InvalidRequestError: an unknown name or option, or a value out of range.
    """
    parts = [part.strip() for part in text.split(",")]
    name = parts.pop(0) if "=" not in parts[0] else "none"
    return replace(_find_augmentation(name), **dict(_option(part) for part in parts))


def augment(
    pixels: Pixels,
    augmentation: Augmentation,
    seed: int,
    round_number: int,
    positions: NDArray[np.integer],
) -> Pixels:
    """*pixels* uint8 [N, H, W, 3], each photo varied within *augmentation*'s limits.

    A photo's result depends on *seed*, *round_number* (such as an epoch) and its number
    in *positions* [N], all 0 or more; not on batch, order or process.
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
    """Each of *pixels* [N, H, W, 3] with its variants: [N, columns, H, W, 3].

    The first column is the original; column c is round c, with positions from 0.
    """
    positions = np.arange(len(pixels))
    rounds = [
        augment(pixels, augmentation, seed, column, positions)
        for column in range(1, columns)
    ]
    return np.stack([pixels, *rounds], axis=1)


@dataclass(frozen=True)
class Draws:
    """The random numbers of N photos: shares of the limits, -1 to 1, each array [N].

    A photo is flipped where its draw is positive.
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

    They depend on the three numbers alone. Every kind of change has its own draw, so a
    further kind leaves the others unchanged.
    """
    values = np.empty((len(positions), _DRAWS))
    for row, position in zip(values, positions, strict=True):
        key = (seed, round_number, int(position))
        row[:] = np.random.default_rng(key).uniform(-1, 1, _DRAWS)
    return Draws(*values.T)


def apply_draws(pixels: Pixels, augmentation: Augmentation, draws: Draws) -> Pixels:
    """*pixels* [N, H, W, 3] changed by *draws*: geometry first, then colour."""
    maps = _affine_maps(draws, augmentation, pixels.shape[1:3])
    levels = _resample(pixels, maps, augmentation)
    if augmentation.channel_shift:
        shifts = np.stack([draws.red, draws.green, draws.blue], axis=-1)
        levels = _shift_channels(levels, shifts * augmentation.channel_shift)
    if augmentation.brightness:
        factors = 1 + draws.brightness * augmentation.brightness
        levels = levels * factors.astype(np.float32)[:, None, None, None]
    return np.asarray(levels.clip(0, 255).round().astype(np.uint8))


def _find_augmentation(name: str) -> Augmentation:
    """The augmentation called *name*.

    Raises:
        InvalidRequestError: there is none; the message lists the names.
    """
    if name not in AUGMENTATIONS:
        known = ", ".join(AUGMENTATIONS)
        raise InvalidRequestError(f"no augmentation {name!r}: choose one of {known}")
    return AUGMENTATIONS[name]


def _option(part: str) -> tuple[str, Any]:
    name, equals, text = (each.strip() for each in part.partition("="))
    defaults = {field.name: field.default for field in fields(Augmentation)}
    if not equals or name not in defaults:
        known = ", ".join(defaults)
        message = f"{part!r} is no option: write NAME=VALUE with one of {known}"
        raise InvalidRequestError(message)
    return name, _value(name, text, type(defaults[name]))


def _value(name: str, text: str, kind: type) -> str | float | bool:
    if kind is str:
        return text
    if kind is bool:
        if text not in {"true", "false"}:
            raise InvalidRequestError(f"{name}={text!r}: write true or false")
        return text == "true"
    try:
        return float(text)
    except ValueError as error:
        raise InvalidRequestError(f"{name}={text!r} is not a number") from error


def _affine_maps(
    draws: Draws, augmentation: Augmentation, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Affine maps [N, 3, 3] of photos of *size* (height, width), new to old (x, y, 1).

    As in Keras 1.1 a photo is rotated, then shifted, sheared, zoomed and flipped; but
    about its exact centre, ((width - 1) / 2, (height - 1) / 2).
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


def _resample(
    pixels: Pixels, maps: NDArray[np.float64], augmentation: Augmentation
) -> NDArray[np.float32]:
    """*pixels* [N, H, W, 3] resampled by *maps* [N, 3, 3], bilinear, not rounded.

    With fill "wrap" TensorFlow does not interpolate at the seam and gets a second copy
    wrong.
    """
    import keras

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


def _shift_channels(
    levels: NDArray[np.float32], shifts: NDArray[np.float64]
) -> NDArray[np.float32]:
    # Limited to the photo's own range, like Keras 1.1: a dark photo stays dark.
    lowest = levels.min(axis=(1, 2, 3), keepdims=True)
    highest = levels.max(axis=(1, 2, 3), keepdims=True)
    shifted = levels + shifts.astype(np.float32)[:, None, None, :]
    return np.asarray(shifted.clip(lowest, highest))


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
