"""Folds hold every photo once, and keep each group in one fold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export.data.folds import held_out_rows, join_parts
from export.data.splits import Photo, Split
from models.errors import DatasetError


def photos_of(*labels_and_groups: tuple[str, str]) -> list[Photo]:
    return [
        Photo(f"{number}.jpg", label, f"sha {number}", group)
        for number, (label, group) in enumerate(labels_and_groups)
    ]


ALL = tuple(photos_of(*[("cat", "")] * 6, *[("dog", "")] * 6))
SPLIT = Split("photos", ("cat", "dog"), 1, "stratified", ALL[3:], ALL[:3])


def test_duplicates_and_groups_stay_in_one_fold() -> None:
    drivers = [(label, f"driver {n}") for n in range(9) for label in ("cat", "dog")] * 3
    photos = photos_of(*drivers, *[("cat", "")] * 9)
    photos[-1] = replace(photos[-1], sha256=photos[0].sha256)
    folds = held_out_rows(photos, 3, seed=1)

    groups = [{photos[row].group for row in fold} - {""} for fold in folds]
    assert sorted(map(len, groups)) == [3, 3, 3]
    assert len(set().union(*groups)) == 9
    assert [{len(photos) - 1, 0} <= set(fold) for fold in folds].count(True) == 1
    assert max(map(len, folds)) - min(map(len, folds)) <= 1


def test_prepared_duplicates_are_cross_validated() -> None:
    grouping = "not stratified, grouped by subject, exact duplicates together"
    joined = join_parts(replace(SPLIT, grouping=grouping), folds=3)

    assert joined.train == joined.valid
    assert joined.grouping == (
        "stratified, grouped by subject, exact duplicates together, 3 folds"
    )


def test_folders_of_the_user_are_not_mixed_in_folds() -> None:
    with pytest.raises(DatasetError, match="use --folds 0, or kennel prepare"):
        join_parts(replace(SPLIT, grouping="folders train and valid"), folds=3)


def test_class_of_too_few_photos_names_the_folds_that_do() -> None:
    photos = photos_of(*[("cat", "")] * 9, ("dog", "a"), ("dog", "a"), ("dog", "b"))
    split = replace(SPLIT, train=tuple(photos), valid=())

    with pytest.raises(DatasetError, match=r"'dog' has 2 photos or groups.* --folds 2"):
        join_parts(split, folds=5)
