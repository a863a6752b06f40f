"""Worked examples of lectures and course texts, computed again.

Convolution means cross-correlation, as in every deep learning library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.probabilities import clip

SHADES = [[3, 2, 1], [1, 2, 3], [1, 1, 1]]
SOBEL_X = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]

FIVE = [
    [1, 2, 0, 3, 1],
    [1, 0, 0, 2, 2],
    [2, 1, 2, 1, 1],
    [0, 0, 1, 0, 0],
    [1, 2, 1, 1, 1],
]
FIRST = [[-1, 1, 2], [1, 1, 0], [-1, -2, 0]]
SECOND = [[0, 1, -1], [0, 1, 1], [1, 0, -2]]
"""The lecture slides' image, and the kernels of their two output channels."""

FOUR = [[2, 1, 0, -1], [-3, 8, 2, 5], [1, -1, 3, 4], [0, 1, 1, -2]]
"""What the slides pool."""


@pytest.fixture(scope="module")
def layers() -> Any:
    """Keras's layers, which all our networks are built of."""
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    import keras

    return keras.layers


def one_photo(values: Any) -> NDArray[Any]:
    """One grey photo [1, H, W, 1]."""
    return np.asarray(values, np.float32)[None, :, :, None]


def convolved(layers: Any, values: Any, kernels: Any, **options: Any) -> NDArray[Any]:
    """Maps [H, W, kernels] of a convolution without bias."""
    weights = np.stack(kernels, axis=-1).astype(np.float32)[:, :, None, :]
    layer = layers.Conv2D(len(kernels), weights.shape[:2], use_bias=False, **options)
    photo = one_photo(values)
    layer.build(photo.shape)
    layer.set_weights([weights])
    return np.asarray(layer(photo)[0])


def expected_loss(accuracy: float, bound: float, classes: int) -> float:
    """Of a model that is as sure as *bound* allows, always, and right so often."""
    sure = np.eye(classes)[:1]
    row = clip(sure, bound)[0]
    return -(accuracy * math.log(row[0]) + (1 - accuracy) * math.log(row[1]))


@pytest.mark.tensorflow
def test_sobel_of_the_three_by_three_is_two(layers: Any) -> None:
    assert convolved(layers, SHADES, [SOBEL_X]).tolist() == [[[2]]]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("stride", "first"),
    [(1, [[-2, -1, 3], [2, 5, 8], [-2, 0, -1]]), (2, [[-2, 3], [-2, -1]])],
)
def test_convolution_of_the_five_by_five(layers: Any, stride: int, first: Any) -> None:
    maps = convolved(layers, FIVE, [FIRST, SECOND], strides=stride)

    assert maps[:, :, 0].tolist() == first
    assert maps[0, 0, 1] == 0


@pytest.mark.tensorflow
def test_padding_keeps_the_five_by_five(layers: Any) -> None:
    maps = convolved(layers, FIVE, [FIRST], padding="same")[:, :, 0]

    assert maps.shape == (5, 5)
    assert maps[0, 0] == -1
    assert np.array_equal(maps[1:-1, 1:-1], convolved(layers, FIVE, [FIRST])[:, :, 0])


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("MaxPooling2D", [[8, 5], [1, 4]]),
        ("AveragePooling2D", [[2, 1.5], [0.25, 1.5]]),
    ],
)
def test_pooling_of_the_four_by_four(layers: Any, pooling: str, expected: Any) -> None:
    pooled = getattr(layers, pooling)(2)(one_photo(FOUR))

    assert np.asarray(pooled)[0, :, :, 0].tolist() == expected


@pytest.mark.tensorflow
def test_global_average_of_the_four_by_four(layers: Any) -> None:
    pooled = layers.GlobalAveragePooling2D()(one_photo(FOUR))

    assert np.asarray(pooled).tolist() == [[1.3125]]


@pytest.mark.tensorflow
@pytest.mark.parametrize(("side", "zeros"), [(3, 1), (5, 2), (7, 3)])
def test_same_padding_is_half_the_kernel(layers: Any, side: int, zeros: int) -> None:
    photo, ones = np.ones((9, 9)), np.ones((side, side))

    padded = convolved(layers, np.pad(photo, zeros), [ones])

    assert np.array_equal(padded, convolved(layers, photo, [ones], padding="same"))


@pytest.mark.tensorflow
def test_five_by_five_on_28_leaves_24_and_pooling_12(layers: Any) -> None:
    maps = convolved(layers, np.ones((28, 28)), [np.ones((5, 5))])

    assert maps.shape[:2] == (24, 24)
    assert layers.MaxPooling2D(2)(maps[None]).shape[1:3] == (12, 12)


def test_shared_weights_need_520_parameters_instead_of_23550() -> None:
    assert 20 * (5 * 5 + 1) == 520
    assert 28 * 28 * 30 + 30 == 23_550


def test_clip_floors_of_the_notebooks() -> None:
    floors = {
        (bound, classes): clip(np.eye(classes)[:1], bound)[0, 1]
        for bound, classes in ((0.95, 2), (0.93, 10), (0.82, 8))
    }

    assert floors[0.95, 2] == pytest.approx(0.05)
    assert floors[0.93, 10] == pytest.approx(0.0077778, abs=5e-8)
    assert floors[0.82, 8] == pytest.approx(0.0257143, abs=5e-8)


@pytest.mark.parametrize(
    ("accuracy", "classes", "bound", "loss"),
    [
        (0.9825, 2, 0.95, 0.1028),
        (0.9825, 2, 0.9825, 0.0881),
        (0.9825, 2, 0.99, 0.0905),
        (0.9825, 2, 1 - 1e-7, 0.282),
        (0.9825, 2, 1 - 1e-15, 0.604),
        (0.9895, 2, 0.95, 0.0822),
        (0.9895, 2, 0.9895, 0.0583),
        (0.8329, 10, 0.8329, 0.818),
        (0.8329, 10, 0.93, 0.872),
        (1.0, 2, 0.95, 0.0513),
    ],
)
def test_expected_loss_of_clipping(
    accuracy: float, classes: int, bound: float, loss: float
) -> None:
    assert expected_loss(accuracy, bound, classes) == pytest.approx(loss, abs=6e-4)


def test_best_clip_bound_is_the_accuracy() -> None:
    bounds = np.linspace(0.9, 0.999, 991)

    losses = [expected_loss(0.9825, bound, 2) for bound in bounds]

    assert bounds[int(np.argmin(losses))] == pytest.approx(0.9825, abs=1e-4)


def test_stuck_loss_is_wrong_rows_at_the_epsilon_of_keras() -> None:
    # One class for all of ten: 10.5 % right, the others pay -ln(1e-7).
    assert -math.log(1e-7) == pytest.approx(16.1, abs=0.05)
    assert (1 - 0.105) * -math.log(1e-7) == pytest.approx(14.4, abs=0.05)


@pytest.mark.tensorflow
def test_stuck_loss_is_what_keras_reports() -> None:
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    import keras

    guess = np.zeros((1000, 10), np.float32)
    guess[:, 0] = 1
    truth = np.eye(10, dtype=np.float32)[[0] * 105 + [1] * 895]

    loss = keras.losses.CategoricalCrossentropy()(truth, guess)

    assert float(loss) == pytest.approx(14.4, abs=0.05)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("inputs", "units", "parameters"),
    [(1000, 2, 2_002), (4096, 2, 8_194), (784, 30, 23_550)],
)
def test_dense_parameters(inputs: int, units: int, parameters: int) -> None:
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    import keras

    model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units)])

    assert model.count_params() == parameters


@pytest.mark.tensorflow
def test_twelve_padded_filters_keep_28_by_28_and_twenty_cost_520() -> None:
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    import keras

    photos = keras.Input((28, 28, 1))
    padded = keras.layers.Conv2D(12, 3, padding="same")(photos)
    twenty = keras.layers.Conv2D(20, 5)

    assert padded.shape[1:] == (28, 28, 12)
    assert twenty(photos).shape[1:] == (24, 24, 20)
    assert twenty.count_params() == 520


@pytest.mark.tensorflow
def test_gradient_descent_finds_the_line_again() -> None:
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    import keras

    keras.utils.set_random_seed(5)
    points = np.random.default_rng(5).random((30, 2)).astype(np.float32)
    values = points @ np.array([2, 3], np.float32) + 1
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")

    model.fit(points, values, epochs=5, batch_size=1, verbose=0)

    kernel, bias = model.get_weights()
    found = [*kernel[:, 0], *bias]
    assert found == pytest.approx([2, 3, 1], abs=0.25)
