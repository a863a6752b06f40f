"""A network is cut behind its frozen part, and the parts make the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.errors import InvalidRequestError
from models.networks.runtime import start_tensorflow

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def network() -> Any:
    """Two blocks of VGG16 with taps on both, and dropout in the head."""
    start_tensorflow()
    import keras

    from models.networks.heads import assemble
    from models.networks.network import Head
    from models.networks.registry import find_network

    keras.utils.set_random_seed(0)
    head = Head("pooled", taps=("block1_pool", "block2_pool"), dropout=0.5)
    return assemble(find_network("vgg16"), head, 2, (32, 32))


@pytest.mark.parametrize("trains", ["last", "head", "conv:block2", "conv:block2_conv2"])
def test_frozen_part_and_the_rest_make_the_whole(network: Any, trains: str) -> None:
    from models.networks.freezing import cut, trained_layers

    parts = cut(network.model, trained_layers(network, trains))
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    features = parts.frozen.predict_on_batch(pixels)
    single = features[0] if len(features) == 1 else features

    whole = network.model.predict_on_batch(pixels)
    assert np.abs(parts.trained.predict_on_batch(single) - whole).max() < 1e-5


def test_pooled_vectors_of_frozen_blocks_are_kept_instead_of_their_maps(
    network: Any,
) -> None:
    from models.networks.freezing import cut, trained_layers

    parts = cut(network.model, trained_layers(network, "conv:block2"))

    shapes = sorted(tuple(each.shape[1:]) for each in parts.frozen.outputs)
    assert shapes == [(16, 16, 64), (64,), (64,)]


def test_dropout_before_the_trained_layers_is_not_frozen(network: Any) -> None:
    import keras

    from models.networks.freezing import cut, trained_layers

    parts = cut(network.model, trained_layers(network, "last"))

    kinds = [type(layer) for layer in parts.frozen.layers]
    assert keras.layers.Dropout not in kinds
    assert keras.layers.BatchNormalization in kinds


STEADY = [
    *((name, "last") for name in ("vgg16", "lenet5", "conv1", "conv3", "mnist-bn")),
    ("conv3", "head"),
    ("efficientnetb0", "head"),
    ("convnexttiny", "head"),
    ("mobilenetv3small", "last"),
]


@pytest.mark.parametrize(("name", "trains"), STEADY)
def test_frozen_part_answers_in_training_as_in_use(name: str, trains: str) -> None:
    # Dropout and drop-connect between frozen layers would be noise on the features.
    import keras

    from models.networks.freezing import cut, trained_layers
    from models.networks.heads import assemble
    from models.networks.network import Head
    from models.networks.registry import find_network

    keras.utils.set_random_seed(0)
    assembled = assemble(find_network(name), Head(dropout=0.5), 2, (32, 32))
    trained = trained_layers(assembled, trains)
    parts = cut(assembled.model, trained)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")

    answers = parts.frozen.predict_on_batch(pixels)
    for one, other in zip(answers, parts.frozen(pixels, training=True), strict=True):
        assert np.asarray(other) == pytest.approx(one, abs=1e-4)
    rest = {layer.name for layer in parts.trained.layers if layer.weights}
    assert (
        rest == {each.name for each in assembled.model.layers if each.weights} & trained
    )
    assert any(isinstance(each, keras.layers.Dropout) for each in parts.trained.layers)


def test_everything_trained_leaves_nothing_frozen(network: Any) -> None:
    from models.networks.freezing import cut, trained_layers

    parts = cut(network.model, trained_layers(network, "all"))

    assert parts.frozen is None
    assert parts.trained is network.model


@pytest.mark.parametrize("trains", ["block2", "conv:", "conv:block9", "tail"])
def test_layers_that_are_not_there_are_refused(network: Any, trains: str) -> None:
    from models.networks.freezing import trained_layers

    with pytest.raises(InvalidRequestError, match=r"cannot train|no layer starts"):
        trained_layers(network, trains)


def test_other_dropout_needs_no_other_weights(network: Any) -> None:
    # Keras's dropout is inverted: halving weights, as the course did, would be wrong.
    from models.networks.heads import assemble
    from models.networks.network import Head
    from models.networks.registry import find_network

    head = Head("pooled", taps=("block1_pool", "block2_pool"), dropout=0.0)
    without = assemble(find_network("vgg16"), head, 2, (32, 32)).model
    without.set_weights(network.model.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")

    expected = network.model.predict_on_batch(pixels)
    assert np.abs(without.predict_on_batch(pixels) - expected).max() < 1e-6
