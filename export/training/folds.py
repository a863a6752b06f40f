"""Cross-validation: models that hold out a fold are judged, models of all photos exported.

Every photo trains the exported members and validates once, on a model that has not seen
it. Figures and calibration are those models', trained on a little less, so they are, if
anything, pessimistic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from export.data.splits import Photo, Split, join_groups
from export.recipes.catalogue import Recipe, Stage
from export.training.examples import Part
from export.training.members import Member, MemberTraining, train_member
from models.errors import DatasetError
from models.networks.weights import PretrainedWeights


@dataclass(frozen=True)
class CrossValidated:
    """The models that were judged on their folds, and the members trained on all."""

    folds: list[MemberTraining]
    judged: list[Member]
    trainings: list[MemberTraining]
    members: list[Member]


def cross_validate(
    whole: MemberTraining, photos: Sequence[Photo], weights: PretrainedWeights | None
) -> CrossValidated:
    """Train the folds of *whole*'s photos, whose files are *photos*, then the members.

    Files of folds are numbered after the members'. Pseudo-labelled photos, which come
    after *photos*, are in no fold: they train all.

    Raises:
        DatasetError: as `train_member`.
    """
    plan, rows = whole.plan, whole.train.rows
    folds = [
        replace(
            whole,
            number=plan.recipe.members + number,
            train=Part(whole.train.photos, np.setdiff1d(rows, rows[held])),
            valid=Part(whole.train.photos, rows[held]),
        )
        for number, held in enumerate(
            held_out_rows(photos, plan.recipe.folds, plan.seed), start=1
        )
    ]
    judged = [train_member(fold, weights) for fold in folds]
    fixed = replace(plan, recipe=settle_epochs(plan.recipe, judged))
    trainings = [
        replace(whole, plan=fixed, number=number)
        for number in range(1, plan.recipe.members + 1)
    ]
    members = [train_member(training, weights) for training in trainings]
    return CrossValidated(folds, judged, trainings, members)


def settle_epochs(recipe: Recipe, judged: Sequence[Member]) -> Recipe:
    """*recipe* with stages as long as was best for the median of the *judged*.

    A stage that made most of them no better has 0 epochs.
    """
    lengths = np.median([member.kept for member in judged], axis=0)
    stages = zip(recipe.stages, lengths, strict=True)
    settled = tuple(_settled(stage, round(float(length))) for stage, length in stages)
    return replace(recipe, stages=settled)


def _settled(stage: Stage, epochs: int) -> Stage:
    return replace(stage, epochs=epochs, patience=epochs + 1, keep="last")


def join_parts(split: Split, folds: int) -> Split:
    """*split* with all photos on both sides, for cross-validation.

    Raises:
        DatasetError: the split is the user's own folders, whose reasons folds cannot
            know; or a class has fewer photos or groups than there are folds.
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
