"""A recipe is checked as a whole before it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.recipes.catalogue import find_recipe
from models.errors import InvalidRequestError
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
