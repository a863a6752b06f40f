"""What the first convolution looks for, in the colours of the photo."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from export.report.network.layers import find_convolutions

_PROBE = 255.0


def first_layer_filters(model: Any) -> NDArray[np.float32]:
    """The first convolution's filters as they act on RGB pixels: [F, h, w, 3].

    Positive where a filter answers to more of a colour, negative where to less. What
    lies between pixels and convolution (channel order, means, scales) is a linear map
    of each pixel's colour; its matrix is measured with plain images, so that filters
    of a BGR network are shown in RGB.

    Raises:
        InvalidRequestError: the model has no convolution.
    """
    first = find_convolutions(model)[0]
    kernel = np.asarray(first.kernel, dtype=np.float32)
    matrix = _colour_matrix(model, first)
    return np.asarray(np.einsum("hwcf,rc->fhwr", kernel, matrix))


def _colour_matrix(model: Any, first: Any) -> NDArray[np.float32]:
    # Rows: red, green, blue; columns: the channels that the convolution sees.
    colours = np.concatenate([np.zeros((1, 3)), np.eye(3) * _PROBE])
    height, width = (side or 32 for side in model.input.shape[1:3])
    images = np.broadcast_to(colours[:, None, None], (4, height, width, 3))
    before = keras.Model(model.input, first.input)
    seen = before(images.astype(np.float32), training=False)
    plane = np.asarray(keras.ops.cast(seen, "float32"))
    # The middle, because padding may lie at the borders.
    middle = plane[:, plane.shape[1] // 2, plane.shape[2] // 2]
    return np.asarray((middle[1:] - middle[0]) / _PROBE, dtype=np.float32)
