"""Members that each hold out another fold: every photo trains, and validates once.

The average is of models trained on (members - 1) / members of the photos; its figures and
calibration are of the single members on photos that they have not seen, so they are, if
anything, a little pessimistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from export.data.split import Photo, Split
from models.errors import DatasetError


def join_parts(split: Split, folds: int) -> Split:
    """*split* with all photos on both sides, for members that hold out folds.

    Raises:
        DatasetError: the split keeps groups together, which folds would tear apart; or
            a class has fewer photos than there are folds.
    """
    if split.grouping != "stratified":
        message = (
            f"the split is {split.grouping!r}, folds would not keep to it: train without "
            "--folds"
        )
        raise DatasetError(message)
    photos = (*split.train, *split.valid)
    for label, count in split.counts()["train"].items():
        if count < folds:
            message = f"class {label!r} has too few photos for {folds} folds: {count}"
            raise DatasetError(message)
    grouping = f"stratified, {folds} folds"
    return replace(split, grouping=grouping, train=photos, valid=photos)


def held_out_rows(
    photos: Sequence[Photo], folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """Row numbers of each fold: stratified, seeded, the same content in one fold."""
    generator = np.random.default_rng(seed)
    fold_of: dict[tuple[str, str], int] = {}
    keys = sorted({(photo.label, photo.sha256) for photo in photos})
    for place, index in enumerate(generator.permutation(len(keys))):
        fold_of[keys[index]] = place
    order = sorted(keys, key=lambda key: (key[0], fold_of[key]))
    numbers = {key: place % folds for place, key in enumerate(order)}
    found = np.array([numbers[photo.label, photo.sha256] for photo in photos])
    return [np.flatnonzero(found == fold) for fold in range(folds)]
