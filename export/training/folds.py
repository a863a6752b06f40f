"""Cross-validation: models that hold out a fold are judged, models of all photos exported.

Every photo trains the exported members and validates once, on a model that has not seen
it. Figures and calibration are those models', trained on a little less, so they are, if
anything, pessimistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from export.data.split import Photo, Split
from export.recipes.recipe import Recipe, Stage
from export.stages.examples import Part
from export.training.member_training import MemberTraining
from export.training.members import Member, train_member
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
    """*recipe* with stages as long as was best for the median of the *judged*."""
    stages = []
    for number, stage in enumerate(recipe.stages, start=1):
        best = [_best_epoch(member, number) for member in judged]
        stages.append(_settled(stage, round(float(np.median(best)))))
    return replace(recipe, stages=tuple(stages))


def _best_epoch(member: Member, stage: int) -> int:
    epochs = [epoch for epoch in member.epochs if epoch.stage == stage]
    return min(epochs, key=lambda epoch: epoch.val_loss).number


def _settled(stage: Stage, epochs: int) -> Stage:
    return replace(stage, epochs=epochs, patience=epochs + 1, keep="last")


def join_parts(split: Split, folds: int) -> Split:
    """*split* with all photos on both sides, for cross-validation.

    Raises:
        DatasetError: the split keeps groups together, which folds would tear apart; or
            a class has fewer photos than there are folds.
    """
    if split.grouping != "stratified":
        message = f"the split is {split.grouping!r}, folds would not keep to it: use --folds 0"
        raise DatasetError(message)
    photos = (*split.train, *split.valid)
    for label in split.labels:
        count = sum(photo.label == label for photo in photos)
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
