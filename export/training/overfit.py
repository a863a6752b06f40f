"""The sanity check before hours are spent: a few photos must be learnt by heart.

A network that cannot reach 100 % on 50 photos has a wrong learning rate, wrong labels or
pixels, or is too weak (Chilamkurthy, crash course part 2).
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice, zip_longest
from typing import Final

import numpy as np

from export.data.splits import Photo, Split
from export.progress import Progress
from export.recipes.catalogue import EXACT, Recipe
from export.recipes.remedies import scaled_rate, stronger
from export.training.diagnosis import rate_fault
from export.training.plans import TrainingPlan
from export.training.runs import TrainedRun
from export.training.train import train

ENOUGH_ACCURACY: Final = 0.98
EPOCHS: Final = 150
BATCH_SIZE: Final = 16
MOST_NAMES: Final = 5


@dataclass(frozen=True)
class OverfitCheck:
    """How far it came, and what the likely causes are where that is not enough."""

    photos: int
    accuracy: float
    epochs: int
    causes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the photos were learnt."""
        return self.accuracy >= ENOUGH_ACCURACY


def overfit_plan(plan: TrainingPlan, count: int) -> TrainingPlan:
    """*plan* on *count* training photos, validated on the same, without regularisation."""
    photos = tuple(_choose(plan.split, count, plan.seed))
    return replace(
        plan,
        split=replace(plan.split, train=photos, valid=photos),
        recipe=_unregularised(plan.recipe),
        folder=plan.folder.with_name(f"{plan.folder.name}-overfit"),
    )


def judge_overfit(run: TrainedRun) -> OverfitCheck:
    """What the run of an `overfit_plan` shows."""
    best = max(epoch.val_accuracy for epoch in run.history)
    causes = () if best >= ENOUGH_ACCURACY else tuple(_causes(run))
    return OverfitCheck(len(run.split.train), best, len(run.history), causes)


def _choose(split: Split, count: int, seed: int) -> Iterator[Photo]:
    # One of each class in turn, so that every class is there.
    by_label: dict[str, list[Photo]] = {label: [] for label in split.labels}
    for index in np.random.default_rng(seed).permutation(len(split.train)):
        photo = split.train[index]
        by_label[photo.label].append(photo)
    turns = chain.from_iterable(zip_longest(*by_label.values()))
    return islice((photo for photo in turns if photo is not None), count)


def _unregularised(recipe: Recipe) -> Recipe:
    stages = tuple(
        replace(
            stage,
            augmentation="none",
            passes=0,
            views=("none",),
            epochs=EPOCHS,
            patience=EPOCHS,
            schedule="constant",
            enough_accuracy=1.0,
        )
        for stage in recipe.stages
    )
    return replace(
        recipe,
        head=replace(recipe.head, dropout=0.0),
        stages=stages,
        batch_size=min(recipe.batch_size, BATCH_SIZE),
        weight_decay=0.0,
        label_smoothing=0.0,
        views=("none",),
        members=1,
        folds=0,
    )


def _causes(run: TrainedRun) -> Iterator[str]:
    labels = defaultdict(set)
    for photo in run.split.train:
        labels[photo.sha256].add(photo.label)
    if contradictory := sum(len(found) > 1 for found in labels.values()):
        yield f"wrong labels: {contradictory} of these photos have two labels"
    yield from _learning_rate(run)
    if options := stronger(run.recipe):
        yield f"too weak a network: try {options}"
    yield f"labels or pixels that do not belong together: look at {_missed(run)}"


def _learning_rate(run: TrainedRun) -> Iterator[str]:
    counts = Counter(photo.label for photo in run.split.train)
    shares = np.array(list(counts.values())) / len(run.split.train)
    chance = -float((shares * np.log(shares)).sum())
    for number, epochs in groupby(run.history, key=lambda epoch: epoch.stage):
        losses = [epoch.loss for epoch in epochs]
        fault = rate_fault(losses, chance)
        if fault is None or run.recipe.stages[number - 1].optimizer == EXACT:
            continue
        factor, size = (10, "small") if fault == "slow" else (0.1, "large")
        figures = f"training loss {losses[0]:.3g} at first, {losses[-1]:.3g} at last"
        option = scaled_rate(run.recipe, number, factor)
        yield f"too {size} a learning rate ({figures}): try {option}"


def _missed(run: TrainedRun) -> str:
    logits, classes = run.validation()
    called = logits.argmax(axis=1)
    missed = np.flatnonzero(called != classes)
    names = [
        f"{run.split.valid[each].file} (called {run.split.labels[called[each]]})"
        for each in missed[:MOST_NAMES]
    ]
    more = f" and {len(missed) - len(names)} more" if len(missed) > len(names) else ""
    return ", ".join(names) + more


def check_overfit(plan: TrainingPlan, count: int, progress: Progress) -> OverfitCheck:
    """Train on *count* photos of *plan* in a folder that is gone afterwards.

    Raises:
        DatasetError: as `train`.
    """
    small = overfit_plan(plan, count)
    shutil.rmtree(small.folder, ignore_errors=True)
    try:
        small.write()
        return judge_overfit(train(small, progress))
    finally:
        shutil.rmtree(small.folder, ignore_errors=True)
