"""Folds of cross-validation: every photo validates one model, which has not seen it.

Folds are stratified and seeded. Photos of one group or of the same content stay in one
fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from export.data.splits import Photo, Split, join_groups
from models.errors import DatasetError


def join_parts(split: Split, folds: int) -> Split:
    """*split* with all photos on both sides, for cross-validation.

    Raises:
        DatasetError: the split is the user's own folders, which folds would mix; or a
            class has fewer photos or groups than there are folds.
    """
    if "stratified" not in split.grouping:
        message = (
            f"the split is {split.grouping!r}, and folds would mix them: use --folds 0, "
            "or kennel prepare for a split that folds can keep to"
        )
        raise DatasetError(message)
    photos = (*split.train, *split.valid)
    groups = content_groups(photos)
    for label in split.labels:
        found = zip(groups, photos, strict=True)
        count = len({group for group, photo in found if photo.label == label})
        if count < folds:
            message = (
                f"class {label!r} has {count} photos or groups that differ, too few for "
                f"{folds} folds: use --folds {count if count > 1 else 0}"
            )
            raise DatasetError(message)
    grouping = f"{split.grouping.removeprefix('not ')}, {folds} folds"
    return replace(split, grouping=grouping, train=photos, valid=photos)


def content_groups(photos: Sequence[Photo]) -> list[str]:
    """A name for each photo, the same for photos of one group or of the same content."""
    return join_groups(
        [photo.group for photo in photos], [photo.sha256 for photo in photos]
    )


def held_out_rows(
    photos: Sequence[Photo], folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """Row numbers of each fold: stratified, seeded; `content_groups` stay in one fold.

    Large groups come first; each goes to the fold that has fewest photos of its labels.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(content_groups(photos)):
        members.setdefault(group, []).append(row)
    keys = sorted((photos[rows[0]].label, group) for group, rows in members.items())
    places = np.random.default_rng(seed).permutation(len(keys)).argsort()
    order = sorted(
        range(len(keys)),
        key=lambda each: (-len(members[keys[each][1]]), keys[each][0], places[each]),
    )
    filled = [Counter[str]() for _ in range(folds)]
    rows_of: list[list[int]] = [[] for _ in range(folds)]
    for each in order:
        rows = members[keys[each][1]]
        labels = Counter(photos[row].label for row in rows)
        fold = min(
            range(folds),
            key=lambda number: (
                sum(filled[number][label] * labels[label] for label in labels),
                filled[number].total(),
                number,
            ),
        )
        filled[fold] += labels
        rows_of[fold] += rows
    return [np.array(sorted(rows), np.int64) for rows in rows_of]
