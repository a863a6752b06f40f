"""Recipes are complete, found by name, and chosen by ``--recipe auto``."""

from __future__ import annotations

from typing import Any

import pytest

from export.recipes.catalogue import RECIPES, choose_recipe, find_recipe
from models.errors import InvalidRequestError


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_has_source_stages_and_a_way_out(recipe: Any) -> None:
    assert recipe.source
    assert recipe.stages
    if recipe.needs == "dense":
        assert recipe.instead.split()[0] in RECIPES


def test_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match=r"no recipe 'poled'.*pooled"):
        find_recipe("poled")


@pytest.mark.parametrize(
    ("photos", "similarity", "recipe"),
    [
        (10, 0.9, "linear"),
        (500, 0.9, "pooled"),
        (500, 0.2, "pooled"),
        (20_000, 0.9, "pooled"),
        (2_000, 0.3, "conv-block5"),
        (20_000, 0.3, "conv-block4"),
        (20_000, 0.05, "everything"),
        (500, None, "scratch-photos"),
    ],
)
def test_depth_follows_similarity_and_amount_of_data(
    photos: int, similarity: float | None, recipe: str
) -> None:
    choice = choose_recipe(photos, similarity)

    assert choice.recipe == recipe
    assert choice.reason
