"""One member of a run: its stages in order, each beginning where the last one ended.

The layers that no stage trains are the same in all members and folds, so they lie in a
file of their own, once for the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from export.recipes.catalogue import EXACT, Stage
from export.stages.answers import evaluate
from export.stages.checkpoints import CheckpointFolder
from export.stages.exact import run_exact_stage
from export.stages.history import Epoch
from export.stages.loop import StageRun, run_stage
from export.stages.snapshots import Snapshot, read_snapshot, write_snapshot
from export.training.assembly import ever_trained, initial_weights
from export.training.inputs import stage_inputs
from export.training.member_training import MemberTraining
from export.training.precision import training_policy
from models.contract import MAX_BATCH_SIZE
from models.errors import DatasetError
from models.networks.freezing import freeze_all_but, trained_layers
from models.networks.weights import PretrainedWeights

FROZEN_FILE: Final = "frozen.npz"
NORMALISATION_BATCHES: Final = 16
"""Batches of photos that the statistics of inserted normalisations come from."""


@dataclass(frozen=True)
class Member:
    """A trained member: all weights of the network, in its order, and its history.

    ``kept`` has a number for each finished stage: the epoch whose weights it ended with,
    0 where no epoch was better than what the stage began with.
    """

    weights: Sequence[NDArray[Any]]
    epochs: tuple[Epoch, ...]
    kept: tuple[int, ...]


def read_member(folder: Path, number: int) -> Member | None:
    """What is finished of member *number* (from 1); None before its first stage is.

    Raises:
        DatasetError: its file, or that of the frozen part, is damaged.
    """
    path = _path(folder, number)
    if not path.exists():
        return None
    found = read_snapshot(path)
    epochs = tuple(Epoch(**each) for each in found.facts["epochs"])
    if "trained" not in found.facts:
        # In runs of older releases each member's file holds the frozen part too.
        stages = range(1, int(found.facts["stages"]) + 1)
        kept = tuple(_best_epoch(epochs, stage) for stage in stages)
        return Member(found.arrays, epochs, kept)
    frozen = read_snapshot(folder / FROZEN_FILE).arrays
    kept = tuple(found.facts["kept"])
    return Member(_merge(found, frozen), epochs, kept)


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
        member = Member(_initial_weights(training, pretrained), (), ())
    trained = _trained_places(training)
    for stage in plan.recipe.stages[len(member.kept) :]:
        if stage.epochs:
            member = _after(training, stage, member)
        else:
            # It made no model better that held out a fold.
            member = replace(member, kept=(*member.kept, 0))
        _write_member(plan.folder, training.number, member, trained)
        CheckpointFolder(plan.folder).clear()
    return member


def _trained_places(training: MemberTraining) -> list[int]:
    network = training.network("float32")
    names = ever_trained(training.plan.recipe.stages, network)
    layers = [layer for layer in network.model.layers if layer.name in names]
    own = {id(weight) for layer in layers for weight in layer.weights}
    weights = enumerate(network.model.weights)
    return [place for place, weight in weights if id(weight) in own]


def _write_member(
    folder: Path, number: int, member: Member, trained: Sequence[int]
) -> None:
    own = set(trained)
    frozen = [each for at, each in enumerate(member.weights) if at not in own]
    path = folder / FROZEN_FILE
    if not path.exists():
        write_snapshot(path, Snapshot(frozen, {}))
    elif not all(map(np.array_equal, frozen, read_snapshot(path).arrays)):
        message = (
            f"the pretrained weights are not those that {folder.name} began with: train "
            "again, under another name"
        )
        raise DatasetError(message)
    facts = {
        "epochs": [asdict(epoch) for epoch in member.epochs],
        "kept": member.kept,
        "trained": trained,
    }
    weights = [member.weights[place] for place in trained]
    write_snapshot(_path(folder, number), Snapshot(weights, facts))


def _merge(own: Snapshot, frozen: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    arrays = dict(zip(own.facts["trained"], own.arrays, strict=True))
    rest = iter(frozen)
    count = len(arrays) + len(frozen)
    return [arrays[at] if at in arrays else next(rest) for at in range(count)]


def _best_epoch(epochs: Sequence[Epoch], stage: int, start: float = math.inf) -> int:
    # The first of the best, as the stage itself keeps; 0 where none is below the start.
    found = [epoch for epoch in epochs if epoch.stage == stage]
    best = min(found, key=lambda epoch: epoch.val_loss)
    return best.number if best.val_loss < start else 0


def _after(training: MemberTraining, stage: Stage, member: Member) -> Member:
    plan = training.plan
    keras.backend.clear_session()
    policy = training_policy(plan.precision, plan.recipe, stage)
    network = training.network(policy)
    network.model.set_weights(list(member.weights))
    trained = trained_layers(network, stage.trains)
    freeze_all_but(network.model, trained)
    number = len(member.kept) + 1
    inputs = stage_inputs(training, stage, network.model, trained)
    run = StageRun(
        recipe=plan.recipe,
        stage=stage,
        member=training.number,
        number=number,
        seed=training.seed,
        train=inputs.train,
        valid=inputs.valid,
        checkpoints=CheckpointFolder(plan.folder),
        report=partial(training.progress, _title(training, number)),
    )
    if stage.optimizer == EXACT:
        epochs = run_exact_stage(run, inputs.network)
        kept = len(epochs)
    else:
        model = inputs.network.trained
        start = evaluate(model, inputs.valid)[0] if member.kept else math.inf
        epochs = run_stage(run, model, start)
        last = stage.keep == "last"
        kept = len(epochs) if last else _best_epoch(epochs, number, start)
    weights = network.model.get_weights()
    return Member(weights, (*member.epochs, *epochs), (*member.kept, kept))


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
    if name := recipe.model_name(training.number):
        title += f", {name}"
    return title


def _path(folder: Path, number: int) -> Path:
    return folder / f"member-{number}.npz"
