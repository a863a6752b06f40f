"""From a plan to a finished run: pixels, members, validation, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.data.splits import classes_of
from export.evaluation.calibration import calibrate
from export.evaluation.metrics import evaluate_logits
from export.progress import Progress
from export.training.assembly import (
    assemble_recipe,
    count_parameters,
    ever_trained,
    recipe_weights,
)
from export.training.folds import cross_validate
from export.training.member_training import MemberTraining
from export.training.members import Member, train_member
from export.training.photo_sets import prepare_photos
from export.training.plans import TrainingPlan
from export.training.pseudo_labels import (
    PseudoLabelled,
    pseudo_label,
    read_pseudo_labels,
)
from export.training.recipe_check import check_recipe
from export.training.runs import TrainedRun, read_run
from export.training.validation import validation_logits
from models.errors import DatasetError
from models.networks.freezing import cut
from models.networks.heads import AssembledNetwork
from models.networks.weights import PretrainedWeights

PSEUDO_LABELS_FILE: Final = "pseudo_labels.npz"


def train(plan: TrainingPlan, progress: Progress) -> TrainedRun:
    """Train, validate and calibrate *plan*; the run is complete when this returns.

    The run's folder holds the plan already (`TrainingPlan.write`). What an interrupted
    call has done is not done again.

    Raises:
        DatasetError: photos or weights do not fit; the message names them.
        InvalidRequestError: the recipe names what there is not.
    """
    tf.config.experimental.enable_op_determinism()
    with _explained_memory():
        return _train(plan, progress)


def _train(plan: TrainingPlan, progress: Progress) -> TrainedRun:
    check_recipe(plan.recipe, len(plan.split.labels), len(plan.split.train))
    weights = recipe_weights(plan.recipe, plan.weights)
    pseudo = _pseudo_labels(plan)
    learnt = prepare_photos("training", plan.split.train, plan, progress, pseudo)
    if plan.recipe.folds:
        whole = MemberTraining(plan, 1, learnt.whole(), learnt.whole(), progress)
        done = cross_validate(whole, plan.split.train, weights)
        logits = validation_logits(done.folds, done.judged)
        return _finish(plan, weights, done.judged, logits, done.members)
    judged = prepare_photos("validation", plan.split.valid, plan, progress)
    trainings = [
        MemberTraining(plan, number, learnt.whole(), judged.whole(), progress)
        for number in range(1, plan.recipe.members + 1)
    ]
    members = [train_member(training, weights) for training in trainings]
    logits = validation_logits(trainings, members)
    return _finish(plan, weights, members, logits)


@contextmanager
def _explained_memory() -> Iterator[None]:
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        message = (
            "this machine has too little memory for the network and its photos: use a "
            "smaller --image-size or --batch-size"
        )
        raise DatasetError(message) from error


def _pseudo_labels(plan: TrainingPlan) -> PseudoLabelled | None:
    if not plan.unlabelled:
        return None
    path = plan.folder / PSEUDO_LABELS_FILE
    if not path.exists():
        teacher = read_run(plan.teacher, Path())
        pseudo_label(teacher, Path(plan.unlabelled), plan.split).write(path)
    return read_pseudo_labels(path)


def _finish(
    plan: TrainingPlan,
    weights: PretrainedWeights | None,
    judged: Sequence[Member],
    logits: NDArray[np.float32],
    all_photos: Sequence[Member] = (),
) -> TrainedRun:
    recipe = plan.recipe
    models = [*all_photos, *judged]
    kept = {number: member.kept for number, member in enumerate(models, start=1)}
    exported = [kept[number] for number in range(1, recipe.members + 1)]
    counts = [max(each) for each in zip(*exported, strict=True)]
    useful = [
        stage for stage, count in zip(recipe.stages, counts, strict=True) if count
    ]
    network = assemble_recipe(recipe, len(plan.split.labels))
    pseudo = _pseudo_labels(plan)
    classes = classes_of(plan.split.valid, plan.split.labels)
    calibration = calibrate(logits, classes)
    run = TrainedRun(
        plan=plan,
        weights=weights.provenance() if weights else _random_weights(plan, network),
        calibration=calibration,
        metrics=evaluate_logits(logits, classes, calibration, plan.split.labels),
        history=tuple(epoch for member in judged for epoch in member.epochs),
        kept=kept,
        parameters=count_parameters(recipe, network, useful),
        pseudo_labelled=len(pseudo.files) if pseudo else 0,
    )
    run.write(logits, classes)
    return run


def _random_weights(plan: TrainingPlan, network: AssembledNetwork) -> dict[str, str]:
    note = f"random initial weights, seed {plan.seed}: nothing was learnt before"
    if cut(network.model, ever_trained(plan.recipe.stages, network)).frozen is not None:
        note += ", and the layers that no stage trains are random still"
    return {"source": "none", "sha256": "", "note": note}
