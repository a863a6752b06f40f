"""A recipe is checked as a whole, and its network is cut where the frozen part ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.recipes.catalogue import find_recipe
from models.errors import InvalidRequestError
from models.networks.runtime import start_tensorflow
from tests.training import small_plan, small_recipe, train_plan

pytestmark = pytest.mark.tensorflow

WRONG = [
    ({"trains": "conv:block9"}, "no layer starts with 'block9'"),
    ({"views": ("sideways",)}, "no view 'sideways'"),
    ({"views": ()}, "no view ''"),
    ({"augmentation": "swirl"}, "swirl"),
    ({"schedule": "linear"}, "no schedule 'linear'"),
    ({"optimizer": "magic"}, "no optimizer 'magic'"),
    ({"optimizer": "exact"}, "second-order"),
    ({"keep": "first"}, "keeps 'first'"),
    ({"views": ("none", "none")}, "name each view once"),
    ({"passes": 5}, "learns the same photo 6 times"),
    ({"passes": 5, "trains": "all", "augmentation": "flips"}, "freezes none"),
    ({"views": ("horizontal",), "augmentation": "flips"}, "give --passes 5"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_later_stage_is_checked_before_training(
    change: dict[str, Any], message: str
) -> None:
    from export.training.assembly import check_recipe

    recipe = small_recipe()
    stages = (*recipe.stages, replace(recipe.stages[0], **change))

    with pytest.raises(InvalidRequestError, match=message):
        check_recipe(replace(recipe, stages=stages), classes=2)


def test_one_photo_a_batch_is_refused_where_values_are_normalised() -> None:
    from export.training.assembly import check_recipe

    recipe = replace(small_recipe(), batch_size=1)

    with pytest.raises(InvalidRequestError, match=r"--batch-size 1: .*use 2 or more"):
        check_recipe(recipe, classes=2)
    check_recipe(replace(find_recipe("lenet5"), batch_size=1), classes=2)


def test_too_many_photos_to_solve_are_told_before_their_features() -> None:
    from export.training.assembly import check_recipe
    from tests.export.training.test_exact import small_second_order

    with pytest.raises(InvalidRequestError, match="at most 8,000 photos, not 8,001"):
        check_recipe(small_second_order(), classes=2, photos=8001)


def test_training_begins_with_the_check(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    wrong = replace(plan, recipe=replace(plan.recipe, views=("sideways",)))

    with pytest.raises(InvalidRequestError, match="sideways"):
        train_plan(wrong)

    assert not plan.cache.exists()


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


@pytest.mark.parametrize(("recipe", "kinds"), [("imagenet-linear", 0), ("dense", 2)])
def test_dense_recipes_have_dropout_only_where_they_train(
    recipe: str, kinds: int
) -> None:
    import keras

    from export.recipes.catalogue import find_recipe
    from export.training.assembly import assemble_recipe, ever_trained
    from models.networks.freezing import cut

    found = replace(find_recipe(recipe), image_size=(32, 32))
    assembled = assemble_recipe(found, 2)
    parts = cut(assembled.model, ever_trained(found.stages, assembled))

    drops = [
        each for each in parts.trained.layers if type(each) is keras.layers.Dropout
    ]
    assert len(drops) == kinds


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
