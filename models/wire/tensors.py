"""numpy arrays to and from TensorProto, without TensorFlow.

Arrays are sent as ``tensor_content``; answers may hold ``tensor_content`` or the typed
``*_val`` fields (TensorFlow Serving's default), one value standing for all included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelContractError
from models.wire.messages import TensorProto, types

_STRING: Final = types.DT_STRING
_NUMERIC: Final[dict[int, tuple[np.dtype[Any], str]]] = {
    types.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    types.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    types.DT_UINT8: (np.dtype(np.uint8), "int_val"),
    types.DT_INT32: (np.dtype(np.int32), "int_val"),
    types.DT_INT64: (np.dtype(np.int64), "int64_val"),
    types.DT_BOOL: (np.dtype(np.bool_), "bool_val"),
}
_DTYPES: Final = {each.str: number for number, (each, _) in _NUMERIC.items()}


def to_tensor(array: NDArray[Any]) -> Any:
    """A TensorProto holding a numeric *array*.

    Raises:
        ModelContractError: the dtype is not one that the signatures use.
    """
    number = _DTYPES.get(array.dtype.str)
    if number is None:
        raise ModelContractError(f"no tensor type for dtype {array.dtype}")
    tensor = TensorProto(dtype=number)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    return tensor


def to_string_tensor(values: Sequence[bytes]) -> Any:
    """A TensorProto of shape [N] holding N byte strings."""
    tensor = TensorProto(dtype=_STRING, string_val=values)
    tensor.tensor_shape.dim.add(size=len(values))
    return tensor


def from_tensor(tensor: Any) -> NDArray[Any]:
    """The array in a TensorProto; byte strings come as dtype object.

    Raises:
        ModelContractError: an unknown dtype, or values that do not fill the shape.
    """
    shape = tuple(int(dim.size) for dim in tensor.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise ModelContractError(f"tensor has an unknown shape {shape}")
    if tensor.dtype == _STRING:
        return _filled(np.array(list(tensor.string_val), dtype=object), shape)
    if tensor.dtype not in _NUMERIC:
        raise ModelContractError(f"tensor has an unsupported dtype {tensor.dtype}")
    dtype, values_field = _NUMERIC[tensor.dtype]
    if content := tensor.tensor_content:  # each look at it is a copy
        return _from_content(content, dtype, shape)
    return _filled(np.array(getattr(tensor, values_field), dtype=dtype), shape)


def _from_content(
    content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    if len(content) != math.prod(shape) * dtype.itemsize:
        message = f"tensor of shape {shape} {dtype} holds {len(content)} bytes"
        raise ModelContractError(message)
    return np.frombuffer(content, dtype=dtype).reshape(shape)


def _filled(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    count = math.prod(shape)
    if values.size == 1 and count != 1:
        return np.full(shape, values[0], dtype=values.dtype)
    if values.size != count:
        message = f"tensor of shape {shape} holds {values.size} values"
        raise ModelContractError(message)
    return values.reshape(shape)
