"""Requests to a model server, and its answers, checked: from arrays to protobuf and back.

Messages that break the contract are refused, in either direction. Needs no TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.contract import (
    CARD_OUTPUT,
    CLASSES_OUTPUT,
    HEATMAPS_OUTPUT,
    IMAGES_INPUT,
    LOGITS_OUTPUT,
    MAX_BATCH_SIZE,
    MOST_PROBABLE,
    PROBABILITIES_OUTPUT,
    ModelCard,
)
from models.errors import ModelContractError, NotFoundError
from models.images.codec import Pixels
from models.wire import protos
from models.wire.protos import PredictRequest, TensorProto, types


@dataclass(frozen=True)
class ModelRef:
    """The model of a request: its newest version, a pinned one, or one by its label."""

    name: str
    version: int | None = None
    label: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it names a version or a label."""
        return self.version is not None or self.label is not None

    def __str__(self) -> str:
        """As in error messages: name, name version 3, name label canary."""
        if self.version is not None:
            return f"{self.name!r} version {self.version}"
        return f"{self.name!r} label {self.label!r}" if self.label else repr(self.name)


def model_spec(model: ModelRef, signature: str) -> Any:
    """The ModelSpec of a request to a *signature* of *model*."""
    spec = protos.ModelSpec(name=model.name, signature_name=signature)
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label
    return spec


def not_served(model: ModelRef) -> NotFoundError:
    """The error for a *model* that is not served; its code names the missing part."""
    remedy = "GET /v1/models lists what is served"
    if model.version is not None:
        code = "version_not_found"
    elif model.label is not None:
        code = "label_not_found"
    else:
        code = "model_not_found"
    return NotFoundError(f"model {model} is not served: {remedy}", code=code)


Images: TypeAlias = Sequence[Pixels] | Pixels
"""N x [H, W, 3] of one size, or the same as [N, H, W, 3]."""

# --- requests -------------------------------------------------------------------------

_LENGTH_DELIMITED: Final = 2
_MAP_KEY: Final = 1
_MAP_VALUE: Final = 2
"""Wire type and the fields of a map's entry: protobuf.dev, "Encoding"."""


def images_request(spec: Any, images: Images) -> bytes:
    """The PredictRequest to the model of the ModelSpec *spec*, with *images*, as bytes.

    Pixels are copied once between decoder and socket. protobuf's own classes copy them
    three times (into the tensor, into the request, into the message); here everything but
    the pixels is protobuf's and the rest is one join. An image then costs 4 instead of
    24 us of a core. Fields must stay in the order of their numbers, as protobuf writes
    them: the tests compare byte by byte.

    Raises:
        ModelContractError: they are not uint8 RGB of one size, or there are none.
    """
    pixels = [np.ascontiguousarray(image) for image in images]
    check_images(pixels)
    count = sum(image.nbytes for image in pixels)
    tensor = TensorProto(dtype=types.DT_UINT8)
    for size in (len(pixels), *pixels[0].shape):
        tensor.tensor_shape.dim.add(size=size)
    head = tensor.SerializeToString() + _field(tensor, "tensor_content", count)
    name = IMAGES_INPUT.encode()
    entry = _prefix(_MAP_KEY, len(name)) + name
    entry += _prefix(_MAP_VALUE, len(head) + count) + head
    request = PredictRequest(model_spec=spec)
    inputs = _field(request, "inputs", len(entry) + count)
    parts = [request.SerializeToString(), inputs, entry]
    return b"".join([*parts, *(image.data for image in pixels)])


def inputs_request(spec: Any, inputs: Mapping[str, Any]) -> bytes:
    """The PredictRequest with *inputs*, TensorProtos by name."""
    request = PredictRequest(model_spec=spec, inputs=inputs)
    return bytes(request.SerializeToString())


def check_images(pixels: Images) -> None:
    """Accept *pixels* to be sent.

    A wrong rank makes a real TensorFlow Serving abort; an empty batch hangs until its
    deadline, and breaks the call after it.

    Raises:
        ModelContractError: they are not uint8 RGB of one size, or there are none.
    """
    if not len(pixels):
        raise ModelContractError("a batch holds at least one image")
    shape = pixels[0].shape
    for image in pixels:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            message = f"an image is uint8 [H, W, 3], not {image.dtype} {image.shape}"
            raise ModelContractError(message)
        if not image.size:
            raise ModelContractError(f"an image of {image.shape} has no pixels")
        if image.shape != shape:
            message = f"images of two sizes in one batch: {shape} and {image.shape}"
            raise ModelContractError(message)


def _field(message: Any, name: str, length: int) -> bytes:
    return _prefix(message.DESCRIPTOR.fields_by_name[name].number, length)


def _prefix(number: int, length: int) -> bytes:
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(length)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


# --- answers --------------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction:
    """Probabilities and logits of N images, [N, K] each, and the version that answered."""

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    version: int


def read_prediction(response: Any, count: int, model: ModelRef) -> Prediction:
    """The Prediction in a PredictResponse of *model* for *count* images.

    Raises:
        ModelContractError: another number of rows, or values that are no probabilities.
    """
    return Prediction(*read_rows(response, count, model), effective_version(response))


def join_predictions(parts: Sequence[Prediction]) -> Prediction:
    """The prediction of all images of *parts*, which are of one version."""
    if len(parts) == 1:
        return parts[0]
    return Prediction(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.logits for part in parts]),
        parts[0].version,
    )


@dataclass(frozen=True)
class Explanation:
    """Heat maps of N images, the answer of `ModelServerClient.explain`.

    Attributes:
        heatmaps: float32 [N, h, w], 0..1; the largest value of an image is 1, or all are
            0 if nothing in it speaks for the class.
        probabilities: float32 [N, K], as of a prediction; so are *logits*.
        classes: int32 [N], the columns that were explained.
        version: the version that answered.
    """

    heatmaps: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    classes: NDArray[np.int32]
    version: int


def check_classes(classes: NDArray[np.int32], count: int) -> None:
    """Accept *classes* to be explained for *count* images.

    Raises:
        ModelContractError: another number of them, other values, or too many.
    """
    if classes.dtype != np.int32 or classes.shape != (count,):
        message = f"classes are int32 [{count}], not {classes.dtype} {classes.shape}"
        raise ModelContractError(message)
    if count > MAX_BATCH_SIZE:
        message = f"{count} images to explain, {MAX_BATCH_SIZE} go into one call"
        raise ModelContractError(message)
    if classes.min() < MOST_PROBABLE:
        raise ModelContractError(f"{classes.min()} is no class")


def read_explanation(
    response: Any, requested: NDArray[np.int32], model: object
) -> Explanation:
    """The Explanation in a PredictResponse of *model* for the *requested* classes.

    Raises:
        ModelContractError: the response breaks the contract.
    """
    probabilities, logits = read_rows(response, len(requested), model)
    explanation = Explanation(
        heatmaps=read_output(response, HEATMAPS_OUTPUT),
        probabilities=probabilities,
        logits=logits,
        classes=read_output(response, CLASSES_OUTPUT),
        version=effective_version(response),
    )
    check_explanation(explanation, requested)
    return explanation


def check_explanation(explanation: Explanation, requested: NDArray[np.int32]) -> None:
    """Accept *explanation*, whose probabilities are checked already, for these classes.

    Raises:
        ModelContractError: the explanation breaks the contract.
    """
    heat, classes = explanation.heatmaps, explanation.classes
    best = explanation.probabilities.argmax(axis=1)
    wanted = np.where(requested == MOST_PROBABLE, best, requested)
    if not np.array_equal(classes, wanted):
        message = (
            f"the request is to explain the classes {_shown(requested)}, the answer "
            f"explains {_shown(classes)}"
        )
        raise ModelContractError(message)
    if heat.ndim != 3 or len(heat) != len(classes) or not heat.size:
        message = f"the heat is {heat.shape} for {len(classes)} images"
        raise ModelContractError(message)
    if not np.isfinite(heat).all() or heat.min() < 0 or heat.max() > 1 + 1e-6:
        raise ModelContractError("the heat has values outside 0 to 1")


def _shown(classes: NDArray[Any]) -> str:
    return ", ".join(str(each) for each in classes.ravel())


# --- versions -------------------------------------------------------------------------

AVAILABLE: Final = "AVAILABLE"
LOADING_STATES: Final = frozenset({"START", "LOADING"})
"""States before a version is loaded. TensorFlow Serving repeats a failed load (by default
five times, a minute apart) and meanwhile reports no error."""

SLOW_LOAD_SECONDS: Final = 30.0
"""A load that takes longer is reported: most take a few seconds."""


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model: START, LOADING, AVAILABLE, UNLOADING or END.

    Attributes:
        error: why it cannot be loaded; empty while the model server gives no reason.
        loading_seconds: how long it has been seen in `LOADING_STATES`; else 0.
        refusal: why it is not used though it is loaded; the state is then END.
    """

    version: int
    state: str
    error: str = ""
    loading_seconds: float = 0.0
    refusal: str = ""

    @property
    def problem(self) -> str:
        """Why the version is not available, as a sentence; empty if unknown."""
        if self.refusal:
            return self.refusal
        if self.state == AVAILABLE:
            return ""
        if self.error:
            return f"version {self.version} cannot be loaded: {self.error}"
        if self.loading_seconds < SLOW_LOAD_SECONDS:
            return ""
        does = "has been loading" if self.state == "LOADING" else "has waited to load"
        return (
            f"version {self.version} {does} for {self.loading_seconds:.0f} s: a load "
            "that fails is repeated and holds up other versions; the model server logs "
            "say why"
        )


def read_statuses(response: Any) -> list[VersionStatus]:
    """The versions in a GetModelStatusResponse, newest first."""
    states = protos.ModelVersionStatus.State
    statuses = [
        VersionStatus(
            int(each.version), states.Name(each.state), each.status.error_message
        )
        for each in response.model_version_status
    ]
    return sorted(statuses, key=lambda each: -each.version)


# --- outputs of a PredictResponse -----------------------------------------------------


def read_output(response: Any, name: str) -> NDArray[Any]:
    """The output *name* of a PredictResponse.

    Raises:
        ModelContractError: the output is missing or is no proper tensor.
    """
    if name not in response.outputs:
        present = ", ".join(sorted(response.outputs)) or "nothing"
        message = f"the answer lacks {name!r} (it holds {present}): export with kennel"
        raise ModelContractError(message)
    return from_tensor(response.outputs[name])


def read_rows(
    response: Any, count: int, model: object
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities and logits, [N, K] each, of *model* for *count* images.

    Raises:
        ModelContractError: another number of rows, or values that are no probabilities.
    """
    probabilities = read_output(response, PROBABILITIES_OUTPUT)
    logits = read_output(response, LOGITS_OUTPUT)
    if probabilities.ndim != 2 or len(probabilities) != count:
        message = f"{model} answered {probabilities.shape} for {count} images"
        raise ModelContractError(message)
    if probabilities.shape != logits.shape:
        message = f"{model}: logits {logits.shape}, probabilities {probabilities.shape}"
        raise ModelContractError(message)
    if not np.isfinite(probabilities).all():
        raise ModelContractError(f"{model} answered probabilities that are not finite")
    if probabilities.min() < 0 or probabilities.max() > 1 + 1e-6:
        raise ModelContractError(f"{model} answered values outside 0 to 1")
    return probabilities, logits


def read_card(response: Any, model: ModelRef) -> ModelCard:
    """The card of the version that answered for *model*.

    Raises:
        ModelContractError: the answer holds no card.
    """
    text = read_output(response, CARD_OUTPUT)
    if text.shape != (1,):
        raise ModelContractError(f"{model} describes itself {text.shape} times")
    card = ModelCard.from_json(text[0])
    # The directory's number is the version; a copied SavedModel may say another.
    return replace(card, name=model.name, version=effective_version(response))


def effective_version(response: Any) -> int:
    """The number of the version that answered."""
    return int(response.model_spec.version.value)


# --- tensors --------------------------------------------------------------------------

# Arrays are sent as ``tensor_content``; answers may hold ``tensor_content`` or the typed
# ``*_val`` fields (TensorFlow Serving's default), where one value may stand for all.
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
        ModelContractError: no signature uses this dtype.
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
    if content := tensor.tensor_content:  # each access is a copy
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
