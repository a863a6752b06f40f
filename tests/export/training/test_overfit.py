"""The sanity check: some photos learnt by heart, or the likely causes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

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
