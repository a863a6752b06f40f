"""One member of a run: its stages in order, each beginning where the last one ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import keras
from numpy.typing import NDArray

from export.recipes.recipe import EXACT, Stage
from export.stages.answers import evaluate
from export.stages.checkpoints import CheckpointFolder
from export.stages.exact import run_exact_stage
from export.stages.history import Epoch
from export.stages.loop import StageRun, run_stage
from export.stages.snapshots import Snapshot, read_snapshot, write_snapshot
from export.training.assembly import initial_weights
from export.training.inputs import stage_inputs
from export.training.member_training import MemberTraining
from export.training.precision import training_policy
from models.contract import MAX_BATCH_SIZE
from models.networks.freezing import freeze_all_but, trained_layers
from models.networks.weights import PretrainedWeights

NORMALISATION_BATCHES = 16
"""Batches of photos that the statistics of inserted normalisations come from."""


@dataclass(frozen=True)
class Member:
    """A trained member: all weights of the network, in its order, and its history."""

    weights: Sequence[NDArray[Any]]
    epochs: tuple[Epoch, ...]
    stages: int


def read_member(folder: Path, number: int) -> Member | None:
    """What is finished of member *number* (from 1); None before its first stage is.

    Raises:
        DatasetError: its file is damaged.
    """
    path = _path(folder, number)
    if not path.exists():
        return None
    found = read_snapshot(path)
    epochs = tuple(Epoch(**each) for each in found.facts["epochs"])
    return Member(found.arrays, epochs, int(found.facts["stages"]))


def train_member(
    training: MemberTraining, pretrained: PretrainedWeights | None
) -> Member:
    """Train all stages, or those that an interrupted run has left.

    Raises:
        DatasetError: weights do not fit, the loss is not a number, or what should have
            moved did not.
    """
    plan = training.plan
    member = read_member(plan.folder, training.number)
    if member is None:
        member = Member(_initial_weights(training, pretrained), (), 0)
    for stage in plan.recipe.stages[member.stages :]:
        member = _after(training, stage, member)
        facts = {
            "epochs": [asdict(epoch) for epoch in member.epochs],
            "stages": member.stages,
        }
        path = _path(plan.folder, training.number)
        write_snapshot(path, Snapshot(member.weights, facts))
        CheckpointFolder(plan.folder).clear()
    return member


def _after(training: MemberTraining, stage: Stage, member: Member) -> Member:
    plan = training.plan
    keras.backend.clear_session()
    policy = training_policy(plan.precision, plan.recipe, stage)
    network = training.network(policy)
    network.model.set_weights(list(member.weights))
    trained = trained_layers(network, stage.trains)
    freeze_all_but(network.model, trained)
    inputs = stage_inputs(training, stage, network.model, trained)
    run = StageRun(
        recipe=plan.recipe,
        stage=stage,
        member=training.number,
        number=member.stages + 1,
        seed=training.seed,
        train=inputs.train,
        valid=inputs.valid,
        checkpoints=CheckpointFolder(plan.folder),
        report=partial(training.progress, _title(training, member.stages + 1)),
    )
    if stage.optimizer == EXACT:
        epochs = run_exact_stage(run, inputs.network)
    else:
        model = inputs.network.trained
        start = evaluate(model, inputs.valid)[0] if member.stages else math.inf
        epochs = run_stage(run, model, start)
    weights = network.model.get_weights()
    return Member(weights, (*member.epochs, *epochs), member.stages + 1)


def _initial_weights(
    training: MemberTraining, pretrained: PretrainedWeights | None
) -> Sequence[NDArray[Any]]:
    plan, pixels = training.plan, training.train.photos.pixels
    photos = (batch for _, batch in pixels.batches(MAX_BATCH_SIZE))
    return initial_weights(
        plan.recipe,
        len(plan.split.labels),
        (plan.seed, training.seed),
        pretrained,
        islice(photos, NORMALISATION_BATCHES),
    )


def _title(training: MemberTraining, stage: int) -> str:
    recipe = training.plan.recipe
    title = f"train {recipe.stages[stage - 1].trains}"
    if len(recipe.stages) > 1:
        title += f", stage {stage} of {len(recipe.stages)}"
    if training.number > recipe.members:
        title += f", fold {training.number - recipe.members} of {recipe.folds}"
    elif recipe.members > 1:
        title += f", member {training.number} of {recipe.members}"
    return title


def _path(folder: Path, number: int) -> Path:
    return folder / f"member-{number}.npz"
