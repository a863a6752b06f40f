"""Convolutions in eight bits: a network's frozen chain as integers, and its graph.

The graph consists of TensorFlow's own quantized operations, which oneDNN computes: a stock
TensorFlow Serving runs it. Weights are signed with a scale for each channel, activations
unsigned with one scale for each layer. The chain begins with the pixels themselves, which
are integers already, and ends in float32: what follows it (taps, pooling, heads) stays as it
was.

Sums of integers do not depend on their order, so the maps have the same bits for every
batch size, number of threads and processor. For the last of these, weights stay within -63
to 63. Processors without VNNI (AVX512_CORE, AVX2 and SSE4.1 of oneDNN, emulated by
ONEDNN_MAX_CPU_ISA) add two products of an activation and a weight in 16 bits, which
saturate: 2 x 255 x 127 is more than 32,767, 2 x 255 x 63 is not. VGG16 on photos of solar
cells, block 4's pooled maps:

| largest weight | error against float32, with VNNI | without VNNI, against with |
|----------------|----------------------------------|----------------------------|
| 127            | 2.9 %                            | 67 %                       |
| 63             | 3.6 %                            | 0, the same bits           |

The operations have kernels for CPUs only, and only in graphs, not in eager mode.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from zipfile import BadZipFile

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.errors import DatasetError
from models.files import parse_json
from models.networks.freezing import FrozenModel

LEVELS: Final = 255
"""The largest unsigned activation."""

WEIGHT_LEVELS: Final = 127
"""The integer weight that `kernel_tops` belong to, as the operation has it."""

LARGEST_WEIGHT: Final = 63
"""The largest integer weight in use: weights have seven bits."""


@dataclass(frozen=True)
class IntegerPooling:
    """The maximum over windows, uint8 maps -> uint8 maps; *name* is the Keras layer's."""

    name: str
    size: tuple[int, int]
    strides: tuple[int, int]
    padding: str = "valid"

    def apply(self, maps: Any, top: float) -> Any:
        """The maxima of *maps*, uint8 [N, h, w, C], where 255 stands for *top*."""
        output, _, _ = tf.raw_ops.QuantizedMaxPool(
            input=tf.bitcast(maps, tf.quint8),
            min_input=0.0,
            max_input=top,
            ksize=[1, *self.size, 1],
            strides=[1, *self.strides, 1],
            padding=self.padding.upper(),
        )
        return tf.bitcast(output, tf.uint8)


@dataclass(frozen=True)
class IntegerConvolution:
    """A convolution with bias and ReLU, uint8 maps -> uint8 maps.

    Attributes:
        name: of the Keras layer whose output this is.
        kernel: int8 [h, w, in, out], within -63..63.
        kernel_tops: float32 [out], the weight that 127 would stand for.
        bias: float32 [out].
        top: the activation that 255 stands for.
        padding: "same" or "valid".
        pooling: what follows, if anything does.
    """

    name: str
    kernel: NDArray[np.int8]
    kernel_tops: NDArray[np.float32]
    bias: NDArray[np.float32]
    top: float
    strides: tuple[int, int] = (1, 1)
    padding: str = "same"
    pooling: IntegerPooling | None = None

    def names(self) -> Iterator[str]:
        """The Keras layers whose outputs are computed: its own, and the pooling."""
        yield self.name
        if self.pooling is not None:
            yield self.pooling.name

    def apply(self, maps: Any, top: float) -> Iterator[Any]:
        """The outputs of `names` for *maps*, uint8 [N, h, w, C], where 255 stands for *top*.

        Inside a tf.function only.
        """
        output, _, _ = tf.raw_ops.QuantizedConv2DWithBiasAndReluAndRequantize(
            input=tf.bitcast(maps, tf.quint8),
            # The operation refuses a filter that is no constant, such as a variable.
            filter=tf.constant(self.kernel.view(tf.qint8.as_numpy_dtype), tf.qint8),
            bias=tf.convert_to_tensor(self.bias),
            min_input=0.0,
            max_input=top,
            min_filter=tf.constant(-self.kernel_tops),
            max_filter=tf.constant(self.kernel_tops),
            min_freezed_output=0.0,
            max_freezed_output=self.top,
            strides=[1, *self.strides, 1],
            padding=self.padding.upper(),
        )
        own = tf.bitcast(output, tf.uint8)
        yield own
        if self.pooling is not None:
            yield self.pooling.apply(own, self.top)

    def apply_to_pixels(self, pixels: Any, border: Sequence[int]) -> Iterator[Any]:
        """As `apply`, for uint8 *pixels* within a border of that colour."""
        if self.padding == "same":
            sizes = zip(
                pixels.shape[1:3], self.kernel.shape[:2], self.strides, strict=True
            )
            sides = [_same_padding(*each) for each in sizes]
            colour = tf.constant(border, tf.uint8)
            # Unsigned bytes wrap around, so this leaves the photo itself as it is.
            pixels = tf.pad(pixels - colour, [(0, 0), *sides, (0, 0)]) + colour
        return replace(self, padding="valid").apply(pixels, float(LEVELS))


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def quantize_kernel(
    kernel: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A float *kernel* [h, w, in, out] as int8, and the weights that 127 would stand for."""
    largest = np.abs(kernel).max(axis=(0, 1, 2)) + 1e-12
    rounded = np.round(kernel / largest * LARGEST_WEIGHT)
    tops = largest * (WEIGHT_LEVELS / LARGEST_WEIGHT)
    return rounded.astype(np.int8), tops.astype(np.float32)


@dataclass(frozen=True)
class IntegerChain:
    """Convolutions one after another, from pixels on.

    Attributes:
        border: the colour around a photo that the first convolution sees, uint8 RGB; it
            stands for the zeros around the preprocessed photo.
        photos: the number of photos that the chain was fitted to.
    """

    border: tuple[int, ...]
    convolutions: tuple[IntegerConvolution, ...]
    photos: int = 0

    def apply(self, pixels: Any) -> dict[str, Any]:
        """The maps after each layer, by its name; *pixels*: uint8 [N, H, W, 3]."""
        first, *rest = self.convolutions
        outputs = list(first.apply_to_pixels(pixels, self.border))
        found = dict(zip(first.names(), outputs, strict=True))
        top = first.top
        for each in rest:
            outputs = list(each.apply(outputs[-1], top))
            found |= zip(each.names(), outputs, strict=True)
            top = each.top
        return found

    def tops(self) -> dict[str, float]:
        """The activation that 255 stands for after each layer, by its name."""
        return {name: each.top for each in self.convolutions for name in each.names()}

    def digest(self) -> str:
        """A key that changes with every value that the maps depend on."""
        found = hashlib.sha256(json.dumps(self._structure(), sort_keys=True).encode())
        for array in self._arrays().values():
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:32]

    def to_bytes(self) -> bytes:
        """The chain as the content of an ``.npz`` file."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {"structure": np.array(json.dumps(self._structure()))}
        np.savez(content, **arrays, **self._arrays())
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> IntegerChain:
        """The chain in the *content* that `to_bytes` made.

        Raises:
            DatasetError: the content is damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                return cls._from_arrays(dict(stored))
        except _DAMAGE as error:
            message = f"the eight-bit weights cannot be read ({error}): train again"
            raise DatasetError(message) from error

    @classmethod
    def _from_arrays(cls, stored: Mapping[str, NDArray[Any]]) -> IntegerChain:
        structure = parse_json(str(stored["structure"]))
        convolutions = []
        for number, values in enumerate(structure["convolutions"]):
            if values["pooling"]:
                values["pooling"] = IntegerPooling(**_with_pairs(values["pooling"]))
            arrays: dict[str, Any] = {n: stored[f"{number}_{n}"] for n in _ARRAYS}
            convolutions.append(IntegerConvolution(**_with_pairs(values), **arrays))
        border = tuple(structure["border"])
        return cls(border, tuple(convolutions), structure["photos"])

    def _structure(self) -> dict[str, Any]:
        values = asdict(self)
        for each in values["convolutions"]:
            for name in _ARRAYS:
                del each[name]
        return values

    def _arrays(self) -> dict[str, Any]:
        return {
            f"{number}_{name}": getattr(each, name)
            for number, each in enumerate(self.convolutions)
            for name in _ARRAYS
        }


_DAMAGE: Final = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile)
_ARRAYS: Final = ("kernel", "kernel_tops", "bias")


def _with_pairs(values: Mapping[str, Any]) -> dict[str, Any]:
    # JSON has no tuples.
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


@keras.saving.register_keras_serializable("kennel")
class IntegerConvolutions(keras.layers.Layer):  # type: ignore[misc]
    """Pixels 0..255 [N, H, W, 3] -> uint8 maps after some layers of a chain, its taps."""

    def __init__(
        self,
        chain: IntegerChain,
        shapes: Mapping[str, tuple[int, ...]],
        **options: Any,
    ) -> None:
        """*shapes*: for each tap, the shape [h, w, C] of its maps."""
        super().__init__(**{**options, "dtype": "float32"})
        self.trainable = False
        self._chain = chain
        self._shapes = dict(shapes)
        self._graph: Any = None

    def call(self, pixels: Any) -> Any:
        """The taps' maps, in the chain's order; *pixels* are whole numbers."""
        if self._graph is None:
            # A function of its own, so that a SavedModel has the weights once, whatever
            # the number of its signatures.
            shape = tf.TensorSpec([None, *pixels.shape[1:]], tf.uint8)
            self._graph = tf.function(self._run, [shape], autograph=False)
        return self._graph(tf.cast(pixels, tf.uint8))

    def _run(self, pixels: Any) -> list[Any]:
        found = self._chain.apply(pixels)
        return [found[name] for name in self._shapes]

    def compute_output_spec(self, pixels: Any) -> list[Any]:
        """One uint8 tensor for each tap."""
        del pixels
        shapes = self._shapes.values()
        return [keras.KerasTensor((None, *shape), "uint8") for shape in shapes]

    def get_config(self) -> dict[str, Any]:
        """What identifies the layer; it is written in SavedModels as a graph only."""
        config: dict[str, Any] = super().get_config()
        return {**config, "chain": self._chain.digest(), "taps": list(self._shapes)}


def in_eight_bits(frozen: Any, chain: IntegerChain) -> FrozenModel:
    """A copy of *frozen*, pixels -> tensors, with the layers of *chain* as integers.

    The tapped layers keep their names and give float32. Layers behind the chain are copied
    with their weights.
    """
    tops = chain.tops()
    sources = {
        id(tensor): each
        for each in frozen.operations
        for tensor in keras.tree.flatten(each.output)
    }
    taps = set(_reached(frozen.outputs, sources, tops))
    shapes = {
        name: tuple(frozen.get_layer(name).output.shape[1:])
        for name in tops
        if name in taps
    }
    pixels = keras.Input(frozen.input.shape[1:], name="pixels")
    maps = IntegerConvolutions(chain, shapes, name="integer_convolutions")(pixels)
    made: dict[str, Any] = {
        name: keras.layers.Rescaling(tops[name] / LEVELS, dtype="float32", name=name)(
            each
        )
        for name, each in zip(shapes, maps, strict=True)
    }

    def rebuild(tensor: Any) -> Any:
        operation = sources[id(tensor)]
        if operation.name not in made:
            copy = type(operation).from_config(operation.get_config())
            inputs = keras.tree.map_structure(rebuild, operation.input)
            made[operation.name] = copy(inputs)
        return made[operation.name]

    outputs = [rebuild(each) for each in frozen.outputs]
    copied = FrozenModel(pixels, outputs, name=frozen.name)
    kept = {layer.name for layer in copied.layers}
    for layer in frozen.layers:
        if layer.name in kept and layer.weights:
            copied.get_layer(layer.name).set_weights(layer.get_weights())
    return copied


def _reached(
    tensors: Sequence[Any], sources: Mapping[int, Any], names: Mapping[str, Any]
) -> Iterator[str]:
    for tensor in tensors:
        operation = sources[id(tensor)]
        if operation.name in names:
            yield operation.name
        else:
            inputs = keras.tree.flatten(operation.input)
            yield from _reached(inputs, sources, names)
