"""The sanity check: some photos learnt by heart, or the likely causes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training import small_plan

pytestmark = pytest.mark.tensorflow


def test_photos_that_can_be_learnt_are_learnt(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    from export.progress import silent
    from export.training.overfit import check_overfit

    check = check_overfit(plan, 10, silent)

    assert check.passed
    assert (check.photos, check.causes) == (10, ())
    assert list(plan.folder.parent.glob("*")) == []


def test_photos_with_contradicting_labels_are_not_learnt(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    from export.progress import silent
    from export.training.overfit import check_overfit

    for number in range(30):
        one = tmp_path / "photos" / "cat" / f"{number}.jpg"
        (tmp_path / "photos" / "dog" / f"{number}.jpg").write_bytes(one.read_bytes())
    by_file = {photo.file: photo for photo in plan.split.train}
    train = tuple(
        replace(photo, sha256=by_file.get(twin, photo).sha256)
        for photo in plan.split.train
        for twin in [photo.file.replace("dog", "cat")]
    )
    stages = (replace(plan.recipe.stages[0], epochs=3),)
    recipe = replace(plan.recipe, stages=stages)
    plan = replace(plan, split=replace(plan.split, train=train), recipe=recipe)

    check = check_overfit(plan, 40, silent)

    assert not check.passed
    assert any("two labels" in cause for cause in check.causes)
    assert any("learning rate" in cause for cause in check.causes)


def test_classes_take_turns(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    from export.training.overfit import overfit_plan

    small = overfit_plan(plan, 7)

    assert Counter(photo.label for photo in small.split.train) == {"cat": 4, "dog": 3}
    assert small.split.valid == small.split.train
    assert small.recipe.head.dropout == 0


TOO_LARGE = {
    "blown up": [439235.7, 55421.7, 52793.2, 3208.4, 3.9, 46.5, 0.84, 0.69, 0.77],
    "units died": [0.81, 2.14, 0.61, 0.71, 0.69, 0.70, 0.6948, 0.6954, 0.6936],
    "above its start": [0.70, 0.74, 0.81, 0.95, 1.3, 1.9, 2.8],
    "swinging": [0.9, 0.4, 1.2, 0.3, 1.1, 0.5, 1.3, 0.4, 1.0],
}
TOO_SMALL = {
    "hardly moving": [0.7052 - 1e-6 * number for number in range(20)],
    "still falling": [0.70 - 0.02 * number for number in range(20)],
}


def judged(home: Path, losses: list[float], recipe: str = "lenet5") -> Any:
    """The verdict on a run with these training losses that learnt half its photos."""
    plan = small_plan(home)
    from export.evaluation.calibration import Calibration
    from export.recipes.catalogue import find_recipe
    from export.stages.history import Epoch
    from export.training.overfit import judge_overfit, overfit_plan
    from export.training.runs import TrainedRun

    plan = overfit_plan(replace(plan, recipe=find_recipe(recipe)), 20)
    history = tuple(
        Epoch(1, len(plan.recipe.stages), number, 2e-3, loss, 0.5, loss, 0.5)
        for number, loss in enumerate(losses, start=1)
    )
    classes = np.array([photo.label == "dog" for photo in plan.split.valid], np.int64)
    answers = np.tile(np.array([1, 0], np.float32), (20, 1)), classes
    calibration = Calibration(1.0, None, "none")
    return judge_overfit(
        TrainedRun(plan, {}, calibration, {}, history, answers=answers)
    )


@pytest.mark.parametrize("case", TOO_LARGE)
def test_too_large_a_learning_rate_is_told_by_its_losses(
    tmp_path: Path, case: str
) -> None:
    causes = judged(tmp_path, TOO_LARGE[case]).causes

    assert causes[0].startswith("too large a learning rate (training loss ")
    assert causes[0].endswith("try --learning-rate 0.0002")


@pytest.mark.parametrize("case", TOO_SMALL)
def test_too_small_a_learning_rate_is_told_by_its_losses(
    tmp_path: Path, case: str
) -> None:
    causes = judged(tmp_path, TOO_SMALL[case]).causes

    assert causes[0].startswith("too small a learning rate (training loss ")
    assert causes[0].endswith("try --learning-rate 0.02")


def test_rate_far_off_is_told_the_recipes_own() -> None:
    from export.recipes.catalogue import LENET5
    from export.recipes.remedies import scaled_rate

    def told(rate: float, factor: float) -> str:
        stages = (replace(LENET5.stages[0], learning_rate=rate),)
        return scaled_rate(replace(LENET5, stages=stages), 1, factor)

    assert told(1.0, 0.1) == told(1e-7, 10) == "--learning-rate 0.002"
    assert told(1e-4, 0.1) == "--learning-rate 1e-05"


def test_losses_that_came_to_rest_blame_no_learning_rate(tmp_path: Path) -> None:
    losses = [0.3 + 0.4 * 0.7**number for number in range(20)]

    weak, mixed = judged(tmp_path, losses).causes

    assert weak == "too weak a network: try --recipe scratch"
    assert mixed.count("(called cat)") == 5
    assert mixed.endswith("and 5 more")


def test_causes_name_what_the_recipe_has(tmp_path: Path) -> None:
    slow = TOO_SMALL["still falling"]

    assert (
        "--learning-rate 0.001,0.002" in judged(tmp_path, slow, "conv-block5").causes[0]
    )
    assert "learning rate" not in " ".join(
        judged(tmp_path, slow, "second-order").causes
    )
    assert "--recipe" not in " ".join(judged(tmp_path, slow, "everything").causes)
