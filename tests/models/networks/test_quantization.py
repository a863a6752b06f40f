"""What becomes a chain of integers, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import InvalidRequestError
from models.networks.runtime import start_tensorflow
from tests.models.networks.feature_errors import feature_errors

pytestmark = pytest.mark.tensorflow


def build(add_layers: Callable[[Any], Any], scale: bool = True) -> Any:
    """A frozen network: pixels, scaled to -1..1, through *add_layers*."""
    start_tensorflow()
    import keras

    from models.networks.freezing import FrozenModel

    keras.utils.set_random_seed(0)
    pixels = keras.Input((24, 24, 3), name="pixels")
    maps = pixels
    if scale:
        maps = keras.layers.Rescaling(1 / 127.5, offset=-1, name="preprocessing")(maps)
    return FrozenModel(pixels, [add_layers(maps)])


def random_photos(count: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 24, 24, 3)).astype(np.uint8)


def error_of(frozen: Any, dtype: str = "float32") -> float:
    from models.networks.integer_graph import in_eight_bits
    from models.networks.quantization import quantize

    chain = quantize(frozen, random_photos(32), dtype=dtype)
    quantized = in_eight_bits(frozen, chain)
    return max(feature_errors(frozen, quantized, random_photos(8)))


def normalised(maps: Any) -> Any:
    import keras

    for number in (1, 2):
        maps = keras.layers.Conv2D(
            16, 3, use_bias=False, padding="same", name=f"conv{number}"
        )(maps)
        normalisation = keras.layers.BatchNormalization(name=f"bn{number}")
        maps = keras.layers.ReLU(name=f"relu{number}")(normalisation(maps))
        generator = np.random.default_rng(number)
        normalisation.set_weights(
            [generator.uniform(0.5, 1.5, 16).astype(np.float32) for _ in range(4)]
        )
    return keras.layers.GlobalAveragePooling2D(name="mean")(maps)


def strided(maps: Any) -> Any:
    import keras

    maps = keras.layers.Conv2D(16, 5, strides=2, activation="relu", name="conv1")(maps)
    maps = keras.layers.Conv2D(
        16, 3, strides=2, padding="same", activation="relu", name="conv2"
    )(maps)
    maps = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="pool2")(maps)
    return keras.layers.Flatten(name="flatten")(maps)


@pytest.mark.parametrize("layers", [normalised, strided])
def test_chain_folds(layers: Callable[[Any], Any]) -> None:
    assert error_of(build(layers)) < 0.05


def test_activations_counted_in_bfloat16_fit_as_well() -> None:
    assert error_of(build(normalised), "bfloat16") < 0.05


@pytest.mark.parametrize("layers", [normalised, strided])
def test_folded_chain_computes_what_the_network_does(
    layers: Callable[[Any], Any],
) -> None:
    import keras

    from models.networks.quantization import read_chain

    frozen = build(layers)
    first, *rest = read_chain(frozen).convolutions
    pixels = random_photos(4).astype(np.float32)
    maps = keras.Model(frozen.input, frozen.get_layer(first.last).output)(pixels)
    for each in rest:
        maps = each.apply(maps)

    expected = keras.Model(frozen.input, frozen.get_layer(rest[-1].last).output)(pixels)
    assert np.allclose(maps, expected, atol=1e-4)


def test_layers_behind_the_chain_keep_their_weights() -> None:
    import keras

    from models.networks.integer_graph import in_eight_bits
    from models.networks.quantization import quantize

    def with_dense(maps: Any) -> Any:
        return keras.layers.Dense(5, name="fc1")(normalised(maps))

    frozen = build(with_dense)
    quantized = in_eight_bits(frozen, quantize(frozen, random_photos(32)))

    for found, expected in zip(
        quantized.get_weights(), frozen.get_layer("fc1").get_weights(), strict=True
    ):
        assert np.array_equal(found, expected)


def branch(maps: Any) -> Any:
    import keras

    one = keras.layers.Conv2D(4, 3, activation="relu", name="one")(maps)
    left = keras.layers.Conv2D(4, 3, activation="relu", name="left")(one)
    right = keras.layers.Conv2D(4, 3, activation="relu", name="right")(one)
    return keras.layers.Add(name="sum")([left, right])


def behind_a_sum(maps: Any) -> Any:
    import keras

    one = keras.layers.Conv2D(4, 3, activation="relu", name="one")(maps)
    doubled = keras.layers.Add(name="sum")([one, one])
    return keras.layers.Conv2D(4, 3, activation="relu", name="behind")(doubled)


def depthwise(maps: Any) -> Any:
    import keras

    one = keras.layers.Conv2D(4, 3, activation="relu", name="one")(maps)
    return keras.layers.DepthwiseConv2D(3, activation="relu", name="deep")(one)


def with_elu(maps: Any) -> Any:
    import keras

    return keras.layers.Conv2D(4, 3, activation="elu", name="soft")(maps)


def without_activation(maps: Any) -> Any:
    import keras

    return keras.layers.Conv2D(4, 3, name="linear")(maps)


def normalised_after_relu(maps: Any) -> Any:
    import keras

    maps = keras.layers.Conv2D(4, 3, activation="relu", name="one")(maps)
    maps = keras.layers.BatchNormalization(name="late")(maps)
    return keras.layers.Conv2D(4, 3, activation="relu", name="two")(maps)


def blurred(maps: Any) -> Any:
    import keras

    maps = keras.layers.AveragePooling2D(3, strides=1, padding="same", name="blur")(
        maps
    )
    return keras.layers.Conv2D(4, 3, activation="relu", name="one")(maps)


def nothing(maps: Any) -> Any:
    import keras

    return keras.layers.Flatten(name="flatten")(maps)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (branch, "layer 'one' .* left and right read it"),
        (behind_a_sum, "layer 'behind' .* does not follow"),
        (depthwise, "layer 'deep' .* only Conv2D"),
        (with_elu, "layer 'soft' .* elu, not relu"),
        (without_activation, "layer 'linear' .* no ReLU follows"),
        (normalised_after_relu, "layer 'late' .* only Conv2D"),
        (blurred, "layer 'one' .* each pixel by itself"),
        (nothing, "no convolution .* is frozen"),
    ],
)
def test_layer_that_does_not_fold_is_named(
    layers: Callable[[Any], Any], reason: str
) -> None:
    from models.networks.quantization import read_chain

    frozen = build(layers)

    with pytest.raises(InvalidRequestError, match=reason):
        read_chain(frozen)
