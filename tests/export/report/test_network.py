"""Pictures of real Keras networks that are small enough to know the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.report.page import render_report
from models.errors import InvalidRequestError
from models.networks.runtime import start_tensorflow
from tests.export.report.reports import full_content

pytestmark = pytest.mark.tensorflow


def small_network(policy: str = "float32") -> Any:
    """BGR with means like VGG16, two convolutions, a head that taps both."""
    start_tensorflow()
    import keras

    keras.utils.set_random_seed(1)
    pixels = keras.Input((32, 32, 3), name="pixels")
    maps = keras.ops.flip(pixels, axis=-1) - np.float32(100)
    taps = []
    for number in (1, 2):
        layer = keras.layers.Conv2D(
            4 * number,
            3,
            padding="same",
            activation="relu",
            dtype=policy,
            name=f"conv{number}",
        )
        maps = keras.layers.MaxPooling2D(dtype=policy)(layer(maps))
        taps.append(keras.layers.GlobalAveragePooling2D(dtype="float32")(maps))
        taps.append(keras.layers.GlobalMaxPooling2D(dtype="float32")(maps))
    features = keras.ops.concatenate(taps, axis=-1)
    return keras.Model(pixels, keras.layers.Dense(2, name="logits")(features))


def some_pixels(count: int = 3) -> Any:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def bright_square(row: int, column: int) -> Any:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[row : row + 8, column : column + 8] = 255
    return pixels


def square_finder() -> Any:
    """Its second logit is the mean brightness, found by an 8 x 8 convolution."""
    start_tensorflow()
    import keras

    pixels = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(1, 8, strides=8, use_bias=False)(pixels)
    mean = keras.layers.GlobalAveragePooling2D()(maps)
    logits = keras.layers.Dense(2, use_bias=False)
    model = keras.Model(pixels, logits(mean))
    model.set_weights([np.full((8, 8, 3, 1), 1 / 192), np.array([[-1.0, 1.0]])])
    return model


def grad_cam(model: Any, pixels: Any, classes: Any) -> Any:
    from export.report.network import grad_cams

    return grad_cams(model, pixels, [classes])[0]


def test_heat_is_where_the_evidence_is() -> None:
    model = square_finder()
    pixels = np.stack([bright_square(8, 16), bright_square(24, 0)])
    heat = grad_cam(model, pixels, np.array([1, 1]))

    assert heat.shape == (2, 4, 4)
    assert np.flatnonzero(heat[0]).tolist() == [1 * 4 + 2]
    assert np.flatnonzero(heat[1]).tolist() == [3 * 4]
    assert heat.max() == 1


def test_evidence_against_a_class_is_no_heat() -> None:
    model = square_finder()
    heat = grad_cam(model, bright_square(8, 16)[None], np.array([0]))

    assert (heat == 0).all()


def test_heat_of_a_tapped_head_equals_the_gradient_through_all_of_it() -> None:
    model = small_network()
    import keras
    import tensorflow as tf

    from models.networks.attention import find_last_maps

    pixels, classes = some_pixels(), np.array([0, 1, 1])
    whole = keras.Model(model.input, [find_last_maps(model).output, model.output])
    batch = tf.constant(pixels.astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(batch)
        maps, logits = whole(batch)
        chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
    weights = np.asarray(tape.gradient(chosen, maps)).mean(axis=(1, 2), keepdims=True)
    expected = np.maximum((weights * np.asarray(maps)).sum(axis=-1), 0)
    expected /= np.maximum(expected.max(axis=(1, 2), keepdims=True), 1e-9)

    assert grad_cam(model, pixels, classes) == pytest.approx(expected, abs=1e-5)


def test_bfloat16_network_gives_nearly_the_same_heat() -> None:
    exact, rough = small_network(), small_network("mixed_bfloat16")
    rough.set_weights(exact.get_weights())
    pixels, classes = some_pixels(), np.array([0, 1, 1])
    heat = grad_cam(rough, pixels, classes)

    assert heat.dtype == np.float32
    assert heat == pytest.approx(grad_cam(exact, pixels, classes), abs=0.1)


def test_looking_changes_nothing_in_the_network() -> None:
    model = small_network()
    from export.report.network import list_layers

    before, answers = list_layers(model), np.asarray(model(some_pixels() * 1.0))
    grad_cam(model, some_pixels(), np.array([0, 1, 1]))

    assert list_layers(model) == before
    assert np.asarray(model(some_pixels() * 1.0)) == pytest.approx(answers)


def test_network_inside_a_network_is_refused() -> None:
    inner = square_finder()
    import keras

    pixels = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(3, 3, padding="same")(pixels)
    outer = keras.Model(pixels, inner(maps), name="outer")

    with pytest.raises(InvalidRequestError, match="'outer' is not flat"):
        grad_cam(outer, some_pixels(), np.array([0, 0, 0]))


def test_filters_of_a_bgr_network_are_shown_in_rgb() -> None:
    model = small_network()
    from export.report.network import first_layer_filters

    kernel = np.asarray(model.get_layer("conv1").kernel)
    filters = first_layer_filters(model)

    assert filters.shape == (4, 3, 3, 3)
    assert filters == pytest.approx(kernel.transpose(3, 0, 1, 2)[..., ::-1], abs=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_activations_are_what_the_layer_answers(policy: str) -> None:
    model = small_network(policy)
    import keras

    from export.report.network import activation_maps

    first, last = activation_maps(model, some_pixels(), channels=2)
    part = keras.Model(model.input, model.get_layer("conv2").output)
    answers = np.asarray(keras.ops.cast(part(some_pixels() * 1.0), "float32"))

    assert (first.layer, first.maps.shape) == ("conv1", (3, 2, 32, 32))
    assert (last.layer, last.maps.shape) == ("conv2", (3, 2, 16, 16))
    chosen = answers[1, :, :, last.channels[1, 0]]
    assert last.maps[1, 0] == pytest.approx(chosen, rel=0.02, abs=0.5)


def test_layers_are_counted_inside_nested_networks_too() -> None:
    inner = square_finder()
    import keras

    from export.report.network import list_layers

    pixels = keras.Input((32, 32, 3))
    rows = list_layers(keras.Model(pixels, inner(pixels)))

    assert sum(row.parameters for row in rows) == inner.count_params() == 194
    assert [row.kind for row in rows if row.parameters] == ["Conv2D", "Dense"]


def test_report_looks_into_the_network(tmp_path: Path) -> None:
    page = render_report(full_content(tmp_path, small_network()))

    for anchor in ("attention", "inside", "layers"):
        assert f'<section id="{anchor}"' in page
    assert "heat for dog: " in page
    assert page.count("data:image/png") >= 4
    assert "conv2" in page


def test_network_without_convolutions_has_only_its_layers_shown(tmp_path: Path) -> None:
    start_tensorflow()
    import keras

    from export.report.network import find_convolutions

    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    page = render_report(full_content(tmp_path, model))

    assert '<section id="layers"' in page
    assert '<section id="inside"' not in page
    assert '<section id="attention"' not in page
    with pytest.raises(InvalidRequestError, match="has no convolution's maps"):
        find_convolutions(model)
