"""Options change a recipe, or are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.recipes.catalogue import find_recipe
from models.errors import DatasetError, InvalidRequestError
from models.networks.network import OPTIONS_BY_HEAD
from models.networks.runtime import start_tensorflow

pytestmark = pytest.mark.tensorflow


def changed(name: str, **options: Any) -> Any:
    start_tensorflow()
    from export.recipes.overrides import override

    return override(find_recipe(name), options)


def test_one_value_is_for_all_stages_and_a_list_for_each() -> None:
    recipe = changed("conv-block5", epochs="7", learning_rate="1e-3,1e-5")

    assert [stage.epochs for stage in recipe.stages] == [7, 7]
    assert [stage.learning_rate for stage in recipe.stages] == [1e-3, 1e-5]


def test_head_and_recipe_values_are_replaced() -> None:
    recipe = changed("pooled", dropout=0.0, hidden=(32,), members=3, batch_size=8)

    assert (recipe.head.dropout, recipe.head.hidden) == (0.0, (32,))
    assert (recipe.members, recipe.batch_size) == (3, 8)


def test_another_network_brings_its_own_image_size() -> None:
    assert changed("scratch", network="conv1").image_size == (224, 224)
    assert changed("backbone", network="xception").image_size == (299, 299)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("conv-block5", {"epochs": "1,2,3"}, "has 3 values, recipe conv-block5 has 2"),
        ("lenet5", {"epochs": "2,3"}, "recipe lenet5 has one stage: give one value"),
        ("pooled", {"learning_rate": "inf"}, "--learning-rate inf: it must be finite"),
        (
            "pooled",
            {"image_size": (9999, 9999)},
            "--image-size 9999: it must be at most",
        ),
        ("pooled", {"epochs": "ten"}, "--epochs 'ten': give a number"),
        ("pooled", {"epochs": "0"}, "--epochs 0: it must be above 0"),
        ("pooled", {"dropout": 1.0}, r"--dropout 1.0: it must be in \[0, 1\)"),
        ("pooled", {"label_smoothing": 1.0}, r"--label-smoothing 1.0: it must be"),
        ("pooled", {"folds": 1}, "--folds 1: use 2 or more"),
        ("pooled", {"folds": -2}, "--folds -2: use 2 or more"),
        ("pooled", {"passes": "-1"}, "--passes -1: use 0 or more"),
        ("pooled", {"members": 0}, "--members 0: it must be above 0"),
        ("pooled", {"network": "resnet50"}, "--recipe backbone --network resnet50"),
        ("scratch", {"network": "vgg61"}, "no network 'vgg61'"),
        ("pooled", {"hidden": (64, 0)}, "--hidden 0: it must be above 0"),
        ("imagenet-linear", {"dropout": 0.3}, "--dropout changes nothing in recipe"),
        ("second-order", {"dropout": 0.3}, "--dropout changes nothing in recipe"),
        ("lenet5", {"hidden": (64,)}, "--hidden changes nothing in recipe lenet5"),
        ("backbone", {"hidden": ()}, "--hidden changes nothing in recipe backbone"),
        ("second-order", {"schedule": "cosine"}, "--schedule changes nothing"),
        ("second-order", {"batch_size": 8}, "--batch-size changes nothing"),
        ("second-order", {"label_smoothing": 0.1}, "--label-smoothing changes nothing"),
        ("second-order", {"members": 3}, "--members changes nothing"),
    ],
)
def test_values_that_cannot_be_are_named(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        changed(name, **options)


def test_changed_options_are_those_that_differ_from_the_catalogue() -> None:
    from export.recipes.overrides import changed_options

    recipe = changed("conv-block5", epochs="60,12", dropout=0.5, views=("none",))

    assert changed_options(recipe) == {"epochs": "60,12", "dropout": "0.5"}
    assert changed_options(find_recipe("second-order")) == {}


def test_solved_recipe_trained_by_gradients_takes_their_options() -> None:
    recipe = changed("second-order", optimizer="adamw", schedule="cosine", batch_size=8)

    assert (recipe.stages[0].schedule, recipe.batch_size) == ("cosine", 8)


@pytest.mark.parametrize("kind", OPTIONS_BY_HEAD)
def test_heads_use_the_options_that_they_say(kind: str) -> None:
    start_tensorflow()
    import keras

    from models.networks.freezing import cut
    from models.networks.heads import assemble
    from models.networks.network import Head
    from models.networks.registry import find_network

    def trained(**options: Any) -> Any:
        keras.backend.clear_session()  # tensors are numbered over a session
        head = Head(kind, ("block1_pool",), "block1_pool", 4, **options)
        with keras.StatelessScope(initialize_variables=False):
            found = assemble(find_network("vgg16"), head, 2, (32, 32)).model
            return cut(found, frozenset({"logits"})).trained.get_config()

    plain = trained(dropout=0.1)
    assert (trained(dropout=0.9) != plain) == ("dropout" in OPTIONS_BY_HEAD[kind])
    wide = trained(dropout=0.1, hidden=(7,))
    assert (wide != plain) == ("hidden" in OPTIONS_BY_HEAD[kind])


def test_recipe_without_its_dense_weights_names_another() -> None:
    start_tensorflow()
    from export.training.assembly import recipe_weights

    with pytest.raises(DatasetError, match="--recipe pooled instead of dense"):
        recipe_weights(find_recipe("dense"), "package")


def test_class_means_tell_what_features_know() -> None:
    start_tensorflow()
    from export.training.train import class_mean_skill

    generator = np.random.default_rng(0)
    classes = generator.integers(0, 3, 400)
    noise = generator.normal(size=(400, 5))
    telling = noise + 8 * np.eye(5)[classes]

    assert class_mean_skill(telling, classes, 0) > 0.95
    assert class_mean_skill(noise, classes, 0) < 0.2
