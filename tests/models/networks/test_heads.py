"""Inserted batch normalisation changes nothing until it is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.errors import DatasetError, InvalidRequestError
from tests.models.networks.small_network import build_small_network, random_pixels

pytestmark = pytest.mark.tensorflow

AFTER = ("conv1", "fc1")


def insert(model: Any, batches: Any) -> Any:
    from models.networks.heads import insert_batch_normalisation

    return insert_batch_normalisation(model, AFTER, batches)


def test_insertion_is_an_exact_identity_also_on_other_photos() -> None:
    model = build_small_network()
    changed = insert(model, np.split(random_pixels(40), 4))

    others = random_pixels(16, seed=9)
    expected = model.predict_on_batch(others)

    names = [layer.name for layer in changed.layers]
    assert names[names.index("fc1") + 1] == "fc1_bn"
    assert names[names.index("conv1") + 1] == "conv1_bn"
    tolerance = 1e-5 * float(np.abs(expected).max())
    assert changed.predict_on_batch(others) == pytest.approx(expected, abs=tolerance)


def test_one_layer_and_whole_numbers_will_do() -> None:
    from models.networks.heads import insert_batch_normalisation

    model = build_small_network()
    photos = random_pixels(8).astype(np.uint8)
    changed = insert_batch_normalisation(model, ["fc1"], [photos])

    expected = model.predict_on_batch(photos)
    tolerance = 1e-5 * float(np.abs(expected).max())
    assert changed.predict_on_batch(photos) == pytest.approx(expected, abs=tolerance)


def test_gamma_as_the_variance_is_no_identity() -> None:
    from models.networks.heads import measure_moments

    model = build_small_network()
    photos = random_pixels(40)
    changed = insert(model, [photos])
    moments = measure_moments(model, ["fc1"], [photos])[0]
    layer = changed.get_layer("fc1_bn")
    layer.set_weights([moments.variance, *layer.get_weights()[1:]])

    expected = model.predict_on_batch(photos)

    difference = np.abs(changed.predict_on_batch(photos) - expected).max()
    assert difference > 0.5 * np.abs(expected).max()


def test_only_gamma_and_beta_are_trained() -> None:
    import keras

    changed = insert(build_small_network(), [random_pixels(40)])
    layer = changed.get_layer("fc1_bn")
    before = layer.get_weights()

    changed.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    changed.train_on_batch(random_pixels(8), np.arange(8) % 3)

    assert [each.name for each in layer.trainable_weights] == ["gamma", "beta"]
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before[:2], layer.get_weights()[:2], strict=True)
    ]
    assert moved == [True, True]


def test_moments_do_not_depend_on_the_batches() -> None:
    from models.networks.heads import measure_moments

    model = build_small_network()
    photos = random_pixels(30)

    parts = measure_moments(model, AFTER, [photos[:7], photos[7:8], photos[8:]])

    for name, moments in zip(AFTER, parts, strict=True):
        import keras

        tapped = keras.Model(model.input, model.get_layer(name).output)
        values = tapped.predict_on_batch(photos).astype(np.float64)
        rows = values.reshape(-1, values.shape[-1])
        assert moments.mean == pytest.approx(rows.mean(axis=0), rel=1e-5)
        assert moments.variance == pytest.approx(rows.var(axis=0), rel=1e-5)


def test_unknown_layers_and_no_photos_are_refused() -> None:
    from models.networks.heads import insert_batch_normalisation

    model = build_small_network()

    with pytest.raises(InvalidRequestError, match="no layer 'fc9' in small: there are"):
        insert_batch_normalisation(model, ["fc9"], [random_pixels(2)])
    with pytest.raises(DatasetError, match="no photos"):
        insert(model, [])
