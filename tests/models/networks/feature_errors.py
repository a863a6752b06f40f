"""How far the features of a quantized network are from those of the float32 one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def feature_errors(
    frozen: Any, quantized: Any, photos: NDArray[np.uint8]
) -> list[float]:
    """The mean error of *quantized*'s outputs over their mean size in *frozen*."""
    import keras

    pixels = photos.astype(np.float32)
    outputs = [
        keras.tree.flatten(network.predict_on_batch(pixels))
        for network in (frozen, quantized)
    ]
    return [
        float(np.abs(found - expected).mean() / np.abs(expected).mean())
        for expected, found in zip(*outputs, strict=True)
    ]
