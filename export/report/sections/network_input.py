"""The size of image that a Keras model takes, without importing Keras."""

from __future__ import annotations

from typing import Any, Final

ANY_SIZE: Final = 224
"""For models that take any: the side that most networks were designed for."""


def input_size(classifier: Any) -> tuple[int, int]:
    """(height, width) of the pixels that *classifier* takes."""
    _, height, width, _ = classifier.input_shape
    return height or ANY_SIZE, width or ANY_SIZE
