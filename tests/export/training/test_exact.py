"""Heads that are fitted exactly instead of trained by gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from export.training.exact import fit_logistic
from models.errors import InvalidRequestError
from models.probabilities import softmax
from tests.export.data.small_sources import prepared, request_for, write_drivers
from tests.training import small_plan, train_plan

if TYPE_CHECKING:
    from export.recipes.catalogue import Recipe


def test_solution_has_no_slope_left() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(80, 5)).astype(np.float32)
    classes = (rows[:, 0] + generator.normal(size=80) > 0).astype(int)
    targets = np.eye(2, dtype=np.float32)[classes]
    strength = 1e-2

    ((_, (kernel, bias)),) = fit_logistic(rows, targets, [strength])

    weights = kernel[:, 1] - kernel[:, 0]
    probabilities = softmax(rows @ kernel + bias)[:, 1]
    slope = rows.T @ (probabilities - classes) + strength * len(rows) * weights
    assert np.abs(slope).max() < 1e-3


def test_three_classes_are_told_apart_and_less_strength_fits_closer() -> None:
    generator = np.random.default_rng(1)
    classes = np.arange(90) % 3
    rows = (generator.normal(size=(90, 4)) + 3 * np.eye(4)[classes]).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[classes]

    found = list(fit_logistic(rows, targets, [1.0, 1e-3]))

    chosen = [softmax(rows @ k + b)[np.arange(90), classes] for _, (k, b) in found]
    assert [strength for strength, _ in found] == [1.0, 1e-3]
    assert -np.log(chosen[1]).mean() < -np.log(chosen[0]).mean()
    kernel, bias = found[1][1]
    assert ((rows @ kernel + bias).argmax(axis=1) == classes).mean() > 0.95


@pytest.mark.tensorflow
def test_products_of_channels_are_pooled_over_positions() -> None:
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from models.networks.heads import SecondOrderPooling

    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    found = np.asarray(SecondOrderPooling()(maps))

    means = np.einsum("nhwi,nhwj->nij", maps, maps)[(..., *np.triu_indices(5))] / 12
    expected = np.sign(means) * np.sqrt(np.abs(means))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.tensorflow
def test_second_order_run_is_fitted_joined_and_exported_whole(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    from export.training.classifier import predict_photos

    run = train_plan(replace(plan, recipe=small_second_order()))

    predicted = predict_photos(run, Path(run.split.folder))
    rows = [predicted.files.index(photo.file) for photo in run.split.valid]
    assert run.metrics["accuracy"] > 0.9
    assert np.abs(predicted.logits[rows] - run.validation()[0]).max() < 1e-4
    losses = [epoch.val_loss for epoch in run.history]
    assert run.history[0].learning_rate == 1e-4
    assert losses[-1] == min(losses)


@pytest.mark.tensorflow
def test_exact_fit_refuses_photos_augmented_anew(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    recipe = small_second_order()
    stages = (replace(recipe.stages[0], augmentation="flips", views=("none",)),)

    with pytest.raises(InvalidRequestError, match="learns from cached features"):
        train_plan(replace(plan, recipe=replace(recipe, stages=stages)))


@pytest.mark.tensorflow
@pytest.mark.parametrize("group_by", ["", "subject"])
def test_prepared_duplicates_and_groups_are_solved_in_folds(
    tmp_path: Path, group_by: str
) -> None:
    plan = small_plan(tmp_path)
    from export.data.splits import find_split, join_parts

    source = tmp_path / "photos"
    if group_by:
        source = write_drivers(tmp_path / "source")
    else:
        twin = source / "dog" / "twin.jpg"
        twin.write_bytes((source / "dog" / "3.jpg").read_bytes())
    options = replace(request_for(source).source_options, group_by=group_by or None)
    prepared(source, dest=tmp_path / "ready", source_options=options)
    split = join_parts(find_split(tmp_path / "ready", 0.2, 1), folds=2)

    recipe = replace(small_second_order(), folds=2)
    run = train_plan(replace(plan, split=split, recipe=recipe))

    assert run.metrics["images"] == (60 if group_by else 61)
    assert run.split.grouping.endswith(
        "together, 2 folds" if not group_by else "2 folds"
    )


def small_second_order() -> Recipe:
    from export.recipes.catalogue import find_recipe

    recipe = find_recipe("second-order")
    head = replace(
        recipe.head, taps=("block1_pool",), products="block1_pool", channels=8
    )
    return replace(recipe, head=head, image_size=(32, 32), folds=0, views=("none",))
