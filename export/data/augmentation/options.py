"""How far a training photo may be varied, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from models.errors import InvalidRequestError

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


@dataclass(frozen=True)
class Augmentation:
    """Limits between which every photo's changes are drawn evenly; 0 is no change.

    The options are those of Keras 1.1's ImageDataGenerator, but shear is in degrees.

    Attributes:
        rotation: degrees either way.
        width_shift: share of the width either way.
        height_shift: share of the height either way.
        shear: degrees either way.
        zoom: share of the size either way, drawn for width and height apart.
        channel_shift: levels of 0..255 either way, drawn for each channel apart, and
            limited to the photo's own range.
        horizontal_flip: left and right swapped in half of the photos; not where they
            are what tells the classes apart.
        vertical_flip: top and bottom swapped in half of the photos.
        brightness: share of every level either way.
        fill: what is outside the photo: its "nearest" edge, a "reflect"ed or "wrap"ped
            copy, or a "constant".
        fill_value: level of the constant.

    Raises:
        InvalidRequestError: a value is out of range; it names the value and the range.
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
            # 15 and 15.0 are the same augmentation, in the name of a cache too.
            object.__setattr__(self, name, float(value))
        if self.fill not in get_args(Fill):
            known = ", ".join(get_args(Fill))
            raise InvalidRequestError(f"no fill {self.fill!r}: choose one of {known}")
