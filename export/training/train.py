"""Training: from a plan to a finished run, and the quick trials before a long one.

The overfit check: a network that cannot reach 100 % on 50 photos has a wrong learning
rate, wrong labels or pixels, or is too weak (Chilamkurthy, crash course part 2).
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.data.splits import Photo, Split, classes_of, in_turns
from export.evaluation.calibration import calibrate
from export.evaluation.metrics import evaluate_logits
from export.progress import Progress
from export.recipes.catalogue import EXACT, LINEAR, Recipe, Stage
from export.recipes.remedies import scaled_rate, stronger
from export.training.assembly import (
    assemble_recipe,
    check_recipe,
    count_parameters,
    ever_trained,
    initial_weights,
    recipe_weights,
)
from export.training.diagnosis import rate_fault
from export.training.examples import flipped, prepare_photos
from export.training.members import (
    MemberTraining,
    TrainedMembers,
    cross_validate,
    train_members,
    validation_logits,
)
from export.training.plans import TrainingPlan
from export.training.pseudo_labels import plan_pseudo_labels
from export.training.runs import TrainedRun
from models.contract import INT8
from models.errors import DatasetError
from models.networks.freezing import cut
from models.networks.heads import AssembledNetwork

OVERFIT_ACCURACY: Final = 0.98
OVERFIT_EPOCHS: Final = 150
OVERFIT_BATCH_SIZE: Final = 16
MOST_NAMES: Final = 5
PROBE_PHOTOS: Final = 200


@dataclass(frozen=True)
class OverfitCheck:
    """The accuracy reached on a few photos, and likely causes where it is too low."""

    photos: int
    accuracy: float
    epochs: int
    causes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the photos were learnt."""
        return self.accuracy >= OVERFIT_ACCURACY


def train(plan: TrainingPlan, progress: Progress) -> TrainedRun:
    """Train, validate and calibrate *plan*; the run is complete when this returns.

    The run's folder holds the plan already (`TrainingPlan.write`). What an interrupted
    call has done is not done again.

    Raises:
        DatasetError: photos or weights do not fit; the message names them.
        InvalidRequestError: the recipe cannot be used; see `check_recipe`.
    """
    tf.config.experimental.enable_op_determinism()
    try:
        return _train(plan, progress)
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        message = (
            "this machine has too little memory for the network and its photos: use a "
            "smaller --image-size or --batch-size"
        )
        raise DatasetError(message) from error


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


def overfit_plan(plan: TrainingPlan, count: int) -> TrainingPlan:
    """*plan* on *count* training photos, validated on the same, without regularisation."""
    photos = tuple(_overfit_photos(plan.split, count, plan.seed))
    return replace(
        plan,
        split=replace(plan.split, train=photos, valid=photos),
        recipe=_unregularised(plan.recipe),
        folder=plan.folder.with_name(f"{plan.folder.name}-overfit"),
    )


def judge_overfit(run: TrainedRun) -> OverfitCheck:
    """The result of the check, from the finished run of an `overfit_plan`."""
    best = max(epoch.val_accuracy for epoch in run.history)
    causes = () if best >= OVERFIT_ACCURACY else tuple(_overfit_causes(run))
    return OverfitCheck(len(run.split.train), best, len(run.history), causes)


def measure_similarity(plan: TrainingPlan, progress: Progress) -> float | None:
    """The similarity of *plan*'s photos to those that the pretrained network knows.

    That is `class_mean_skill` of frozen features. None: *plan* starts from random weights.

    Raises:
        DatasetError: photos or weights cannot be used.
    """
    recipe = replace(LINEAR, image_size=plan.recipe.image_size)
    # The recipe is not chosen yet, so there is no run whose convolutions are integers.
    precision = "auto" if plan.precision == INT8 else plan.precision
    probe = replace(plan, recipe=recipe, precision=precision)
    weights = recipe_weights(recipe, plan.weights)
    if weights is None:
        return None
    order = np.random.default_rng(plan.seed).permutation(len(plan.split.train))
    photos = [plan.split.train[index] for index in order[:PROBE_PHOTOS]]
    found = prepare_photos("probe", photos, probe, progress)
    training = MemberTraining(probe, 1, found.whole(), found.whole(), progress)
    seeds = (plan.seed, plan.seed)
    classes = len(plan.split.labels)
    network = training.network("float32")
    network.model.set_weights(initial_weights(recipe, classes, seeds, weights, ()))
    trained = ever_trained(recipe.stages, network)
    frozen = training.frozen_part(network.model, trained, "float32", exact=False)
    features = frozen.features(found, flipped("none")).rows(np.arange(len(photos)))
    return class_mean_skill(features[0], found.targets.argmax(axis=1), plan.seed)


def class_mean_skill(
    features: NDArray[np.floating], classes: NDArray[np.integer], seed: int
) -> float:
    """The skill of the nearest class mean on held-out rows: 0 guessing, 1 always right.

    Half of the rows [N, F] make the means, after scaling each feature to unit variance.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    half = len(order) // 2
    known, held = order[:half], order[half:]
    scale = features[known].std(axis=0) + 1e-6
    labels = np.unique(classes[known])
    means = np.stack([features[known][classes[known] == c].mean(0) for c in labels])
    distances = (((features[held][:, None] - means) / scale) ** 2).sum(axis=2)
    right = float((labels[distances.argmin(axis=1)] == classes[held]).mean())
    guess = float(np.bincount(classes[held]).max() / len(held))
    return max(0.0, (right - guess) / (1 - guess)) if guess < 1 else 0.0


def _train(plan: TrainingPlan, progress: Progress) -> TrainedRun:
    split, labels = plan.split, plan.split.labels
    check_recipe(plan.recipe, len(labels), len(split.train), plan.precision)
    weights = recipe_weights(plan.recipe, plan.weights)
    pseudo = plan_pseudo_labels(plan) if plan.unlabelled else None
    learnt = prepare_photos("training", split.train, plan, progress, pseudo)
    if plan.recipe.folds:
        whole = MemberTraining(plan, 1, learnt.whole(), learnt.whole(), progress)
        done = cross_validate(whole, split.train, weights)
    else:
        valid = prepare_photos("validation", split.valid, plan, progress)
        first = MemberTraining(plan, 1, learnt.whole(), valid.whole(), progress)
        done = train_members(first, weights)
    logits = validation_logits(done.validated)
    classes = classes_of(split.valid, labels)
    calibration = calibrate(logits, classes)
    network = assemble_recipe(plan.recipe, len(labels))
    models = [*done.exported, *done.validated]
    run = TrainedRun(
        plan=plan,
        weights=weights.provenance() if weights else _random_weights(plan, network),
        calibration=calibration,
        metrics=evaluate_logits(logits, classes, calibration, labels),
        history=tuple(epoch for _, each in done.validated for epoch in each.epochs),
        kept={training.number: member.kept for training, member in models},
        parameters=count_parameters(plan.recipe, network, _useful_stages(plan, done)),
        pseudo_labelled=len(pseudo.files) if pseudo else 0,
    )
    run.write(logits, classes)
    return run


def _useful_stages(plan: TrainingPlan, done: TrainedMembers) -> list[Stage]:
    # Those that made some exported member better.
    kept = zip(*(member.kept for _, member in done.exported), strict=True)
    return [
        stage for stage, each in zip(plan.recipe.stages, kept, strict=True) if any(each)
    ]


def _random_weights(plan: TrainingPlan, network: AssembledNetwork) -> dict[str, str]:
    note = f"random initial weights, seed {plan.seed}: nothing was learnt before"
    if cut(network.model, ever_trained(plan.recipe.stages, network)).frozen is not None:
        note += ", and the layers that no stage trains are random still"
    return {"source": "none", "sha256": "", "note": note}


def _overfit_photos(split: Split, count: int, seed: int) -> Iterator[Photo]:
    # One of each class in turn, so that every class is there.
    order = np.random.default_rng(seed).permutation(len(split.train))
    shuffled = (split.train[index] for index in order)
    return islice(in_turns(shuffled, split.labels), count)


def _unregularised(recipe: Recipe) -> Recipe:
    stages = tuple(
        replace(
            stage,
            augmentation="none",
            passes=0,
            views=("none",),
            epochs=OVERFIT_EPOCHS,
            patience=OVERFIT_EPOCHS,
            schedule="constant",
            enough_accuracy=1.0,
        )
        for stage in recipe.stages
    )
    return replace(
        recipe,
        head=replace(recipe.head, dropout=0.0),
        stages=stages,
        batch_size=min(recipe.batch_size, OVERFIT_BATCH_SIZE),
        weight_decay=0.0,
        label_smoothing=0.0,
        views=("none",),
        members=1,
        folds=0,
    )


def _overfit_causes(run: TrainedRun) -> Iterator[str]:
    labels = defaultdict(set)
    for photo in run.split.train:
        labels[photo.sha256].add(photo.label)
    if contradictory := sum(len(found) > 1 for found in labels.values()):
        yield f"wrong labels: {contradictory} of these photos have two labels"
    yield from _rate_causes(run)
    if options := stronger(run.recipe):
        yield f"too weak a network: try {options}"
    yield f"labels or pixels that do not belong together: look at {_missed_photos(run)}"


def _rate_causes(run: TrainedRun) -> Iterator[str]:
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


def _missed_photos(run: TrainedRun) -> str:
    logits, classes = run.validation()
    called = logits.argmax(axis=1)
    missed = np.flatnonzero(called != classes)
    names = [
        f"{run.split.valid[each].file} (called {run.split.labels[called[each]]})"
        for each in missed[:MOST_NAMES]
    ]
    more = f" and {len(missed) - len(names)} more" if len(missed) > len(names) else ""
    return ", ".join(names) + more
