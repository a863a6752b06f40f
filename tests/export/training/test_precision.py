"""The choice of a precision: by time, by what is possible, and once for a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.contract import INT8
from models.errors import DatasetError, InvalidRequestError
from tests.training import small_plan, small_recipe

if TYPE_CHECKING:
    from export.recipes.catalogue import Recipe
    from export.training.plans import TrainingPlan

pytestmark = pytest.mark.tensorflow

Timing = Callable[[Any, NDArray[np.uint8], str], float]


def automatic(home: Path, **changes: Any) -> TrainingPlan:
    """A plan without a precision, for 45 photos in 21 passes and 15 to validate."""
    plan = small_plan(home)
    stages = (replace(plan.recipe.stages[0], augmentation="demo", passes=20),)
    recipe = replace(plan.recipe, stages=stages)
    options: dict[str, Any] = {
        "precision": "auto",
        "weights": "auto",
        "recipe": recipe,
    } | changes
    plan = replace(plan, **options)
    plan.write()
    return plan


def choose(plan: TrainingPlan, timing: Timing) -> TrainingPlan:
    from export.progress import silent
    from export.training.precision import choose_precision

    return choose_precision(plan, silent, timing)


def speeds(eight_bits: float) -> Timing:
    """Timings of a machine with that many photos/s in eight bits, 10 in other precisions."""
    return lambda _plan, _pixels, precision: eight_bits if precision == INT8 else 10.0


def never(_plan: Any, _pixels: NDArray[np.uint8], precision: str) -> float:
    raise AssertionError(f"{precision} was timed")


def test_eight_bits_are_chosen_where_they_are_fastest(tmp_path: Path) -> None:
    plan = choose(automatic(tmp_path), speeds(eight_bits=1000))

    assert plan.precision == INT8
    assert "1,000.0 photos/s here" in plan.precision_reason
    assert "float32 10.0; features of" in plan.precision_reason
    assert "on CPUs only (--precision bfloat16 or float32" in plan.precision_reason


def test_fitting_counts(tmp_path: Path) -> None:
    # 960 photos: 96 s at 10 photos/s. At 14 they take 69 s, after more than 40 of fitting.
    plan = choose(automatic(tmp_path), speeds(eight_bits=14))

    assert plan.precision != INT8
    assert "int8 14.0" in plan.precision_reason


def test_choice_is_in_the_file_of_the_plan(tmp_path: Path) -> None:
    from export.training.plans import read_plan

    plan = choose(automatic(tmp_path), speeds(eight_bits=1000))

    assert read_plan(plan.folder) == plan


def test_same_machine_decides_alike_again(tmp_path: Path) -> None:
    first = choose(automatic(tmp_path), speeds(eight_bits=1000))
    again = automatic(tmp_path, folder=tmp_path / "runs" / "train" / "again")

    assert choose(again, never).precision == first.precision


def test_damaged_timings_are_named(tmp_path: Path) -> None:
    choose(automatic(tmp_path), speeds(eight_bits=1000))
    (path,) = (tmp_path / "cache" / "speeds").iterdir()
    path.write_text("{")

    again = automatic(tmp_path, folder=tmp_path / "runs" / "train" / "again")
    with pytest.raises(DatasetError, match=f"{path} are damaged"):
        choose(again, never)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", INT8])
def test_precision_that_is_named_stays(tmp_path: Path, precision: str) -> None:
    plan = automatic(tmp_path, precision=precision)

    assert choose(plan, never) == plan


def with_convolutions(recipe: Recipe) -> Recipe:
    stage = replace(recipe.stages[0], trains="conv:block1_conv2", passes=0)
    return replace(recipe, stages=(*recipe.stages, stage))


def without_passes(recipe: Recipe) -> Recipe:
    stages = (replace(recipe.stages[0], augmentation="none", passes=0),)
    return replace(recipe, stages=stages)


def of_resnet(_recipe: Recipe) -> Recipe:
    from export.recipes.catalogue import find_recipe

    return find_recipe("backbone")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_convolutions, "trains the convolutions 'block1_conv2'"),
        (without_passes, "60 photos are too few"),
        (of_resnet, "cannot be computed in eight bits"),
    ],
)
def test_recipe_without_eight_bits_is_not_timed(
    tmp_path: Path, change: Callable[[Recipe], Recipe], reason: str
) -> None:
    from export.training.assembly import usual_precision

    plan = automatic(tmp_path)
    plan = replace(plan, recipe=change(plan.recipe))

    chosen = choose(plan, never)
    assert reason in chosen.precision_reason
    assert "use --" not in chosen.precision_reason
    assert chosen.precision == usual_precision(plan.recipe)


def test_random_weights_are_not_timed(tmp_path: Path) -> None:
    chosen = choose(automatic(tmp_path, weights="none"), never)

    assert chosen.precision != INT8
    assert chosen.precision_reason == "nothing is pretrained"


def test_machine_without_eight_bits_gets_another_precision(tmp_path: Path) -> None:
    def timing(_plan: Any, _pixels: NDArray[np.uint8], precision: str) -> float:
        if precision == INT8:
            raise InvalidRequestError("TensorFlow does not compute in int8 here")
        return 10.0

    chosen = choose(automatic(tmp_path), timing)

    assert chosen.precision != INT8
    assert chosen.precision_reason == "TensorFlow does not compute in int8 here"


def test_photos_are_timed_in_each_precision(tmp_path: Path) -> None:
    from export.training.precision import time_features

    chosen = choose(automatic(tmp_path), time_features)

    assert "int8" in f"{chosen.precision} {chosen.precision_reason}"
    assert "photos/s here" in chosen.precision_reason


@pytest.mark.parametrize(
    ("speeds", "fastest"),
    [
        ({"float32": 7.5, "bfloat16": 15, INT8: 28}, INT8),
        ({"float32": 7.5, "bfloat16": 40, INT8: 28}, "bfloat16"),
        ({"float32": 7.5, INT8: 28}, INT8),
        ({"float32": 40, "bfloat16": 15, INT8: 28}, "float32"),
    ],
)
def test_least_time_decides(speeds: Mapping[str, float], fastest: str) -> None:
    from export.training.precision import FeatureWork

    seconds = FeatureWork(learnt=2500, judged=0).seconds(speeds)

    assert min(seconds, key=lambda precision: seconds[precision]) == fastest


def test_validation_in_float32_counts() -> None:
    from export.training.precision import FeatureWork

    seconds = FeatureWork(learnt=100, judged=100).seconds(
        {"float32": 10, "bfloat16": 20}
    )

    assert seconds == {"float32": 20, "bfloat16": 15}


@pytest.mark.parametrize(
    ("recipe", "learnt", "judged"),
    [
        ("pooled", 100, 20),
        ("small-bn-augmented", 600, 20),
        # The new layer alone, then all dense ones.
        ("dense", 200, 40),
        # Four flips, which the folds share.
        ("second-order", 400, 0),
    ],
)
def test_work_of_a_recipe(recipe: str, learnt: int, judged: int) -> None:
    from export.recipes.catalogue import find_recipe
    from export.training.precision import FeatureWork, count_work

    work = count_work(find_recipe(recipe), train=100, valid=20)

    assert work == FeatureWork(learnt, judged)


def test_photos_augmented_anew_count_in_every_epoch() -> None:
    from export.training.precision import count_work

    recipe = small_recipe()
    stages = (replace(recipe.stages[0], augmentation="demo", epochs=7),)
    changed = replace(recipe, stages=stages, members=2)

    assert count_work(changed, train=100, valid=20).learnt == 1400
