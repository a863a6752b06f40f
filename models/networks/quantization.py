"""Quantization: a network's frozen convolutions in eight bits, fitted to training photos.

What can be made integers is a chain from the pixels on: convolutions with ReLU, batch
normalisation before that ReLU, and maxima. Normalisation is folded into its convolution,
and preprocessing that maps each pixel by itself into the first one, so that the chain
begins with the bytes of the photo. A first convolution in float32 would be no better (VGG16,
block 4: 3.6 % error either way), takes 2 to 2.5 times as long, and its sums depend on the
batch.

The activation that 255 stands for is chosen for each layer among several: percentiles of
its activations on the calibration photos, and the one with the least squared error of
rounding and clipping. The one whose maps, computed from the integers before, are nearest
to float32 is taken. Then the mean error of each channel goes into the bias (bias
correction: Nagel et al. 2019, arXiv:1906.04721, section 4.2). Activations are counted and
compared at a grid of positions, and counted in bfloat16 where the processor is faster in
it: neither changes the error that is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.errors import InvalidRequestError
from models.networks.integer_graph import (
    LEVELS,
    IntegerChain,
    IntegerConvolution,
    IntegerPooling,
    quantize_kernel,
)

CALIBRATION_PHOTOS: Final = 256
"""Photos that show the range of activations; fewer miss large ones that are rare."""

FIT_PHOTOS: Final = 16
"""Photos, some of those, whose maps are compared layer by layer."""

PERCENTILES: Final = (99.9, 99.99, 99.999, 100.0)
BATCH: Final = 8
_BINS: Final = 4096
_POSITIONS: Final = 16
"""Positions a side, at most, at which the activations of a map are seen."""

_PIXEL: Final = 255.0


@dataclass(frozen=True)
class FloatConvolution:
    """A convolution with ReLU, normalisation and preprocessing folded in.

    ``name`` is that of the last of its Keras layers, ``pooling`` the maximum after it.
    """

    name: str
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    strides: tuple[int, int]
    padding: str
    pooling: IntegerPooling | None = None

    @property
    def last(self) -> str:
        """The name of its last layer, pooling included."""
        return self.pooling.name if self.pooling else self.name

    def apply(self, maps: Any) -> Any:
        """Its last maps, in the type of *maps* [N, h, w, C]."""
        kernel, bias = (tf.cast(each, maps.dtype) for each in (self.kernel, self.bias))
        sums = tf.nn.conv2d(maps, kernel, self.strides, self.padding.upper())
        output = tf.nn.relu(tf.nn.bias_add(sums, bias))
        if self.pooling is None:
            return output
        size, strides = self.pooling.size, self.pooling.strides
        return tf.nn.max_pool2d(output, size, strides, self.pooling.padding.upper())

    def quantized(self) -> IntegerConvolution:
        """The same with integer weights; what 255 stands for is not fitted yet."""
        kernel, tops = quantize_kernel(self.kernel)
        options = (self.strides, self.padding, self.pooling)
        return IntegerConvolution(self.name, kernel, tops, self.bias, 1.0, *options)


@dataclass(frozen=True)
class FloatChain:
    """Convolutions one after another, and the colour that stands for zeros around pixels."""

    convolutions: tuple[FloatConvolution, ...]
    border: tuple[int, ...]


def quantize(
    frozen: Any,
    photos: NDArray[np.uint8],
    report: Callable[[int, int], None] = lambda _done, _all: None,
    dtype: str = "float32",
) -> IntegerChain:
    """The chain of *frozen*, pixels -> tensors, as integers fitted to *photos*.

    *photos*: `CALIBRATION_PHOTOS` training photos, uint8 [N, H, W, 3]. *report* is called
    with the number of finished steps and of all. *dtype*: "float32" or "bfloat16", in which
    the activations of all photos are counted.

    Raises:
        InvalidRequestError: as `read_chain`.
    """
    chain = read_chain(frozen)
    steps = math.ceil(len(photos) / BATCH) + len(chain.convolutions)
    compute = _activations(frozen, chain, dtype)
    histograms = _count_activations(compute, photos, lambda done: report(done, steps))
    # Photos often come class by class: these are of all.
    few = photos[:: math.ceil(len(photos) / FIT_PHOTOS)]
    wanted = map(_activations(frozen, chain, "float32"), _batches(few))
    targets = [np.concatenate(each) for each in zip(*wanted, strict=True)]
    maps: NDArray[np.uint8] = few
    fitted: list[IntegerConvolution] = []
    for convolution, histogram, target in zip(
        chain.convolutions, histograms, targets, strict=True
    ):
        start = fitted[-1].top if fitted else chain.border
        rounded = convolution.quantized()
        run = _graph(rounded, maps, start)
        fitted.append(_fit(rounded, histogram.candidates(), run, target))
        maps = run(fitted[-1].bias, fitted[-1].top)
        report(steps - len(targets) + len(fitted), steps)
    return IntegerChain(chain.border, tuple(fitted), len(photos))


def provisional_chain(frozen: Any) -> IntegerChain:
    """The chain of *frozen* as integers that fit no photos, as fast as those that do.

    Raises:
        InvalidRequestError: as `read_chain`.
    """
    chain = read_chain(frozen)
    return IntegerChain(chain.border, tuple(e.quantized() for e in chain.convolutions))


def read_chain(frozen: Any) -> FloatChain:
    """The chain of *frozen*, from its first convolution on.

    Raises:
        InvalidRequestError: there is none, or a layer does not fold into one; the message
            names it.
    """
    layers = list(_follow(frozen))
    chain = list(layers)
    convolutions: list[FloatConvolution] = []
    while any(map(convolves, layers)):
        convolutions.append(_read_convolution(layers))
    for layer in frozen.layers:
        if convolves(layer) and layer not in chain:
            raise _refused(layer, "it does not follow the convolution before it alone")
    first, border = _fold_preprocessing(frozen, chain[0], convolutions[0])
    return FloatChain((first, *convolutions[1:]), border)


def _follow(frozen: Any) -> Iterator[Any]:
    # The first convolution, and what follows one after another.
    layer = next(filter(convolves, frozen.layers), None)
    if layer is None:
        message = (
            f"no convolution of {frozen.name!r} is frozen, so there is nothing to compute "
            "in eight bits: use --precision float32 or bfloat16"
        )
        raise InvalidRequestError(message)
    while layer is not None:
        yield layer
        followers = [
            each
            for each in frozen.layers
            if any(each_input is layer.output for each_input in _inputs(each))
            and _belongs_to_chain(each)
        ]
        if len(followers) > 1:
            raise _refused(
                layer, f"{followers[0].name} and {followers[1].name} read it"
            )
        layer = followers[0] if followers else None


def _inputs(layer: Any) -> list[Any]:
    return list(keras.tree.flatten(layer.input))


def convolves(layer: Any) -> bool:
    """Whether *layer* is a convolution of any kind."""
    return any(len(weight.shape) >= 4 for weight in layer.weights)


def _is_relu(layer: Any) -> bool:
    if isinstance(layer, keras.layers.ReLU):
        plain = (layer.max_value, layer.negative_slope, layer.threshold)
        return plain in {(None, 0, 0), (None, 0.0, 0.0)}
    return getattr(layer, "activation", None) is keras.activations.relu


def _belongs_to_chain(layer: Any) -> bool:
    kinds = (
        keras.layers.BatchNormalization,
        keras.layers.MaxPooling2D,
        keras.layers.ReLU,
    )
    return convolves(layer) or isinstance(layer, kinds) or _is_activation(layer)


def _is_activation(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation) and _is_relu(layer)


def _refused(layer: Any, reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"layer {layer.name!r} ({type(layer).__name__}) cannot be computed in eight bits: "
        f"{reason}; use --precision float32 or bfloat16"
    )


def _read_convolution(layers: list[Any]) -> FloatConvolution:
    # Takes the layers that it reads away.
    layer = layers.pop(0)
    if type(layer) is not keras.layers.Conv2D:
        raise _refused(layer, "only Conv2D, followed by ReLU, is an integer operation")
    if layer.groups != 1 or layer.dilation_rate != (1, 1):
        raise _refused(layer, "it has groups or is dilated")
    kernel, bias = _kernel_and_bias(layer)
    last = layer
    if layer.activation is keras.activations.linear:
        if layers and isinstance(layers[0], keras.layers.BatchNormalization):
            last = layers.pop(0)
            kernel, bias = _fold_normalisation(kernel, bias, last)
        if not layers or not _is_relu(layers[0]) or convolves(layers[0]):
            raise _refused(last, "no ReLU follows")
        last = layers.pop(0)
    elif not _is_relu(layer):
        raise _refused(
            layer, f"its activation is {layer.activation.__name__}, not relu"
        )
    pooling = None
    if layers and isinstance(layers[0], keras.layers.MaxPooling2D):
        pool = layers.pop(0)
        pooling = IntegerPooling(pool.name, pool.pool_size, pool.strides, pool.padding)
    return FloatConvolution(
        last.name, kernel, bias, layer.strides, layer.padding, pooling
    )


def _kernel_and_bias(layer: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    kernel, *biases = layer.get_weights()
    return kernel, biases[0] if biases else np.zeros(kernel.shape[-1], np.float32)


def _fold_normalisation(
    kernel: NDArray[np.float32], bias: NDArray[np.float32], layer: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    gamma = np.asarray(layer.gamma) if layer.scale else np.float32(1)
    beta = np.asarray(layer.beta) if layer.center else np.float32(0)
    factor = gamma / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
    return kernel * factor, (bias - np.asarray(layer.moving_mean)) * factor + beta


def _fold_preprocessing(
    frozen: Any, layer: Any, first: FloatConvolution
) -> tuple[FloatConvolution, tuple[int, ...]]:
    # pixels @ matrix + offset is what the first convolution sees.
    prepare = keras.Model(frozen.input, keras.layers.Identity()(layer.input))
    shape = frozen.input.shape[1:]
    probes = np.zeros((5, *shape), np.float32)
    probes[1:4] = _PIXEL * np.eye(3).reshape(3, 1, 1, 3)
    probes[4] = np.random.default_rng(0).integers(0, 256, shape)
    seen = np.asarray(prepare.predict_on_batch(probes), np.float64)
    if seen.shape[1:3] != shape[:2]:
        raise _refused(layer, "the layers before it change the size of the photo")
    offset = seen[0, 0, 0]
    matrix = (seen[1:4, 0, 0] - offset) / _PIXEL
    if np.abs(probes @ matrix + offset - seen).max() > 1e-4 * np.abs(seen).max():
        raise _refused(layer, "the layers before it do not map each pixel by itself")
    kernel = np.einsum("hwjo,cj->hwco", first.kernel, matrix)
    bias = first.bias + np.einsum("hwjo,j->o", first.kernel, offset)
    border = np.linalg.lstsq(matrix.T, -offset, rcond=None)[0]
    if first.padding == "same" and not -0.5 < border.min() <= border.max() < 255.5:
        raise _refused(layer, "it pads with a colour that no pixel has")
    folded = replace(
        first, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32)
    )
    return folded, tuple(int(each) for each in np.round(border).clip(0, LEVELS))


class _Histogram:
    """Counts of activations in bins of equal width from 0 on; it widens as it must."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS)
        self._width = 1e-6

    def add(self, values: NDArray[np.float32]) -> None:
        largest = float(values.max())
        while largest >= self._width * _BINS:
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.concatenate([pairs, np.zeros(_BINS // 2)])
            self._width *= 2
        places = (values * (1 / self._width)).astype(np.int32).ravel()
        self._counts += np.bincount(places.clip(0, _BINS - 1), minlength=_BINS)

    def candidates(self) -> list[float]:
        # Activations that 255 may stand for.
        shares = np.cumsum(self._counts) / self._counts.sum() * 100
        ends = self._width * np.arange(1, _BINS + 1)
        found = [float(ends[np.searchsorted(shares, p - 1e-9)]) for p in PERCENTILES]
        tops = np.geomspace(found[0] / 2, found[-1], 50)
        errors = [self._squared_error(top) for top in tops]
        return [*found, float(tops[int(np.argmin(errors))])]

    def _squared_error(self, top: float) -> float:
        centres = self._width * (np.arange(_BINS) + 0.5)
        step = top / LEVELS
        rounded = np.minimum(np.round(centres / step), LEVELS) * step
        # Within a bin narrower than a step the rounding error is that of a step.
        return float(self._counts @ (rounded - centres) ** 2)


_Activations: TypeAlias = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]
"""Photos -> the last maps of each convolution, at a grid of positions."""


def _activations(frozen: Any, chain: FloatChain, dtype: str) -> _Activations:
    # The network computes the first itself, with the preprocessing before it.
    first, *rest = chain.convolutions
    start = keras.Model(frozen.input, frozen.get_layer(first.last).output)

    def compute(pixels: Any) -> list[Any]:
        maps = start(tf.cast(pixels, tf.float32), training=False)
        found = [_thinned(maps)]
        maps = tf.cast(maps, dtype)
        for each in rest:
            maps = each.apply(maps)
            found.append(tf.cast(_thinned(maps), tf.float32))
        return found

    graph = tf.function(compute, autograph=False)
    return lambda photos: [np.asarray(each) for each in graph(tf.constant(photos))]


def _thinned(maps: Any) -> Any:
    stride = math.ceil(max(maps.shape[1:3]) / _POSITIONS)
    return maps[:, ::stride, ::stride]


def _count_activations(
    compute: _Activations, photos: NDArray[np.uint8], report: Callable[[int], None]
) -> list[_Histogram]:
    histograms: list[_Histogram] = []
    for number, batch in enumerate(_batches(photos), start=1):
        found = compute(batch)
        histograms = histograms or [_Histogram() for _ in found]
        for histogram, values in zip(histograms, found, strict=True):
            histogram.add(values)
        report(number)
    return histograms


_Compute: TypeAlias = Callable[[NDArray[np.float32], float], NDArray[np.uint8]]
"""(bias, top) of a convolution -> its last maps."""


def _graph(
    convolution: IntegerConvolution,
    maps: NDArray[np.uint8],
    start: float | tuple[int, ...],
) -> _Compute:
    # *start*: what 255 stands for in *maps*; if these are pixels, their border.
    def compute(maps: Any, bias: Any, top: Any) -> Any:
        tried = replace(convolution, bias=bias, top=top)
        if isinstance(start, tuple):
            return list(tried.apply_to_pixels(maps, start))[-1]
        return list(tried.apply(maps, start))[-1]

    graph = tf.function(compute, autograph=False)

    def run(bias: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
        options = (tf.constant(bias), tf.constant(top))
        found = [graph(tf.constant(batch), *options) for batch in _batches(maps)]
        return np.concatenate([np.asarray(each) for each in found])

    return run


def _fit(
    convolution: IntegerConvolution,
    candidates: Sequence[float],
    compute: _Compute,
    wanted: NDArray[np.float32],
) -> IntegerConvolution:
    # Over these photos, the nearest to the *wanted* maps.
    missed = {
        top: wanted
        - _thinned(compute(convolution.bias, top)) * np.float32(top / LEVELS)
        for top in set(candidates)
    }
    best = min(missed, key=lambda top: float(np.square(missed[top]).mean()))
    bias = convolution.bias + missed[best].mean(axis=(0, 1, 2))
    return replace(convolution, bias=bias.astype(np.float32), top=best)


def _batches(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]
