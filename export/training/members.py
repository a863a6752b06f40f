"""Members of a run: trained stage by stage, validated on a split or in folds.

Each stage begins where the last one ended. The layers that no stage trains are the same in
all members and folds, so they lie in a file of their own, once for the run.
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

from export.data.augmentation import Augmentation, parse_augmentation
from export.data.splits import Photo, held_out_rows
from export.progress import Progress
from export.recipes.catalogue import EXACT, Recipe, Stage
from export.training.assembly import (
    assemble_recipe,
    ever_trained,
    feature_policy,
    initial_weights,
    training_policy,
    usual_precision,
)
from export.training.checkpoints import (
    CheckpointFolder,
    Epoch,
    Snapshot,
    read_snapshot,
    write_snapshot,
)
from export.training.exact import run_exact_stage
from export.training.examples import (
    Examples,
    FeatureExamples,
    FreshFeatures,
    FrozenPart,
    Part,
    PixelExamples,
    augmented,
    flipped,
)
from export.training.plans import TrainingPlan
from export.training.stage import StageRun, evaluate, predict, run_stage
from models.contract import INT8, MAX_BATCH_SIZE
from models.errors import DatasetError
from models.files import write_atomically
from models.networks.freezing import CutNetwork, cut, freeze_all_but, trained_layers
from models.networks.heads import AssembledNetwork
from models.networks.integer_graph import IntegerChain
from models.networks.weights import PretrainedWeights

FROZEN_FILE: Final = "frozen.npz"
INTEGERS_FILE: Final = "int8.npz"
"""The frozen convolutions in eight bits, in runs of that precision."""

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


@dataclass(frozen=True)
class MemberTraining:
    """Member *number* (from 1) of a plan, and the photos that it learns from."""

    plan: TrainingPlan
    number: int
    train: Part
    valid: Part
    progress: Progress

    @property
    def seed(self) -> int:
        """The seed: the plan's for the first member, drawn from it for the others."""
        if self.number == 1:
            return self.plan.seed
        entropy = np.random.SeedSequence([self.plan.seed, self.number])
        return int(entropy.generate_state(1)[0])

    @property
    def is_fold(self) -> bool:
        """Whether it validates on photos that other members train on."""
        return self.train.photos is self.valid.photos

    def network(self, policy: str) -> AssembledNetwork:
        """The plan's network with random weights, its base in that *policy*."""
        return assemble_recipe(self.plan.recipe, len(self.plan.split.labels), policy)

    def frozen_part(
        self, model: Any, trained: frozenset[str], policy: str, *, exact: bool
    ) -> FrozenPart:
        """The part of *model*, in that *policy*, that is constant while *trained* trains.

        *exact*: as the model will be served, kept as float32; else the plan's precision,
        kept as float16. Both compute in eight bits if the plan does.
        """
        fast = feature_policy(self.plan.precision, self.plan.recipe)
        wanted, dtype = ("float32", "float32") if exact else (fast, "float16")
        if wanted != policy:
            weights = model.get_weights()
            model = self.network(wanted).model
            model.set_weights(weights)
        frozen = cut(model, trained).frozen
        # The key of cached features has this flag of each layer.
        frozen.trainable = False
        part = FrozenPart(frozen, dtype, self.plan.cache, self.progress)
        if self.plan.precision != INT8:
            return part
        path = self.plan.folder / INTEGERS_FILE
        if not path.exists():
            dtype = usual_precision(self.plan.recipe)
            chain = part.fit_chain(self.train.photos, self.plan.seed, dtype)
            write_atomically(path, chain.to_bytes())
        return part.in_eight_bits(read_integers(self.plan.folder))


@dataclass(frozen=True)
class TrainedMembers:
    """Members, each with what it was trained on.

    Attributes:
        exported: the members that the published model consists of.
        validated: the models that are judged on photos they have not seen: the exported
            members, or with folds those that hold one fold out.
    """

    exported: Sequence[tuple[MemberTraining, Member]]
    validated: Sequence[tuple[MemberTraining, Member]]


def train_members(
    first: MemberTraining, weights: PretrainedWeights | None
) -> TrainedMembers:
    """Train all members of a plan, of which *first* is the first.

    Raises:
        DatasetError: as `train_member`.
    """
    numbers = range(1, first.plan.recipe.members + 1)
    trainings = [replace(first, number=number) for number in numbers]
    done = [(training, train_member(training, weights)) for training in trainings]
    return TrainedMembers(exported=done, validated=done)


def cross_validate(
    whole: MemberTraining, photos: Sequence[Photo], weights: PretrainedWeights | None
) -> TrainedMembers:
    """Train the folds of *whole*'s photos, whose files are *photos*, then the members.

    Every photo trains the exported members and validates once, on a model that has not
    seen it. Figures and calibration are those models', trained on a little less, so they
    are, if anything, pessimistic.

    Files of folds are numbered after the members'. Pseudo-labelled photos, which come
    after *photos*, are in no fold: they train all.

    Raises:
        DatasetError: as `train_member`.
    """
    plan, rows = whole.plan, whole.train.rows
    held_out = held_out_rows(photos, plan.recipe.folds, plan.seed)
    folds = [
        replace(
            whole,
            number=plan.recipe.members + number,
            train=Part(whole.train.photos, np.setdiff1d(rows, rows[held])),
            valid=Part(whole.train.photos, rows[held]),
        )
        for number, held in enumerate(held_out, start=1)
    ]
    judged = [(fold, train_member(fold, weights)) for fold in folds]
    settled = settle_epochs(plan.recipe, [member for _, member in judged])
    fixed = replace(whole, plan=replace(plan, recipe=settled))
    return TrainedMembers(train_members(fixed, weights).exported, judged)


def settle_epochs(recipe: Recipe, judged: Sequence[Member]) -> Recipe:
    """*recipe* with stages as long as was best for the median of the *judged*.

    A stage that made most of them no better has 0 epochs.
    """
    lengths = np.median([member.kept for member in judged], axis=0)
    epochs = [round(float(length)) for length in lengths]
    stages = tuple(
        replace(stage, epochs=count, patience=count + 1, keep="last")
        for stage, count in zip(recipe.stages, epochs, strict=True)
    )
    return replace(recipe, stages=stages)


def train_member(
    training: MemberTraining, pretrained: PretrainedWeights | None
) -> Member:
    """Train all stages, or those that an interrupted run has left.

    Raises:
        DatasetError: weights do not fit, the loss is not a number, or layers that should
            have changed did not.
    """
    plan = training.plan
    member = read_member(plan.folder, training.number)
    if member is None:
        member = Member(_initial_weights(training, pretrained), (), ())
    trained = _trained_places(training)
    for stage in plan.recipe.stages[len(member.kept) :]:
        if stage.epochs:
            member = _train_stage(training, stage, member)
        else:
            # This stage improved no model that held out a fold.
            member = replace(member, kept=(*member.kept, 0))
        _write_member(plan.folder, training.number, member, trained)
        CheckpointFolder(plan.folder).clear()
    return member


def read_member(folder: Path, number: int) -> Member | None:
    """Member *number* (from 1) with its finished stages; None: no stage is finished.

    Raises:
        DatasetError: the member's file, or that of the frozen part, is damaged.
    """
    path = _member_file(folder, number)
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


def validation_logits(
    validated: Sequence[tuple[MemberTraining, Member]],
) -> NDArray[np.float32]:
    """Logits [N, K] of the validation photos: members and views averaged.

    Folds are not averaged: each photo is judged by the member that has not seen it.
    """
    found = [member_logits(training, member) for training, member in validated]
    if not validated[0][0].is_fold:
        return _average([each for logits in found for each in logits])
    rows = np.concatenate([training.valid.rows for training, _ in validated])
    merged = np.concatenate([_average(logits) for logits in found])
    return np.asarray(merged[np.argsort(rows)])


def member_logits(
    training: MemberTraining, member: Member
) -> list[NDArray[np.float32]]:
    """Logits [N, K] of the photos that *training* validates on, for each view."""
    keras.backend.clear_session()
    recipe = training.plan.recipe
    network = training.network("float32")
    network.model.set_weights(list(member.weights))
    trained = ever_trained(recipe.stages, network)
    parts = cut(network.model, trained)
    frozen = None
    if parts.frozen is not None:
        exact = not training.is_fold
        frozen = training.frozen_part(network.model, trained, "float32", exact=exact)

    def examples(view: str) -> Examples:
        change = flipped(view)
        if frozen is None:
            return PixelExamples(training.valid, lambda _epoch: change)
        features = frozen.features(training.valid.photos, change)
        return FeatureExamples(training.valid, [features])

    return [predict(parts.trained, examples(view)) for view in recipe.views]


def mean_logits(logits: Sequence[Any]) -> Any:
    """log of the mean of softmax(each), [N, K]: arrays or tensors.

    This logarithm of the average probability stands in for logits, so that temperature
    and clipping apply to it as to a single model's.
    """
    logs = [keras.ops.log_softmax(each, axis=-1) for each in logits]
    stacked = keras.ops.stack(logs, axis=0)
    return keras.ops.logsumexp(stacked, axis=0) - float(np.log(len(logits)))


def read_integers(folder: Path) -> IntegerChain:
    """The frozen convolutions in eight bits of the run in *folder*.

    Raises:
        DatasetError: the file is not there, or damaged.
    """
    path = folder / INTEGERS_FILE
    if not path.exists():
        raise DatasetError(f"{path} is gone: train again")
    return IntegerChain.from_bytes(path.read_bytes())


def _train_stage(training: MemberTraining, stage: Stage, member: Member) -> Member:
    plan = training.plan
    keras.backend.clear_session()
    policy = training_policy(plan.precision, plan.recipe, stage)
    network = training.network(policy)
    network.model.set_weights(list(member.weights))
    trained = trained_layers(network, stage.trains)
    freeze_all_but(network.model, trained)
    number = len(member.kept) + 1
    train, valid, parts = _stage_inputs(training, stage, network.model, trained)
    run = StageRun(
        recipe=plan.recipe,
        stage=stage,
        member=training.number,
        number=number,
        seed=training.seed,
        train=train,
        valid=valid,
        checkpoints=CheckpointFolder(plan.folder),
        report=partial(training.progress, _title(training, number)),
    )
    if stage.optimizer == EXACT:
        epochs = run_exact_stage(run, parts)
        kept = len(epochs)
    else:
        start = evaluate(parts.trained, valid)[0] if member.kept else math.inf
        epochs = run_stage(run, parts.trained, start)
        last = stage.keep == "last"
        kept = len(epochs) if last else _best_epoch(epochs, number, start)
    weights = network.model.get_weights()
    return Member(weights, (*member.epochs, *epochs), (*member.kept, kept))


def _stage_inputs(
    training: MemberTraining, stage: Stage, model: Any, trained: frozenset[str]
) -> tuple[Examples, Examples, CutNetwork]:
    """The examples that *stage* trains and validates on, and the network that is cut.

    The layers *trained* of *model* train. Examples are inputs of the network's trained
    part: cached features where possible, else pixels.

    Raises:
        DatasetError: the disk is too small for the features.
    """
    augmentation = parse_augmentation(stage.augmentation)
    parts = cut(model, trained)
    train, valid = training.train, training.valid
    anew = partial(augmented, augmentation, training.seed)
    if parts.frozen is None:
        plain = PixelExamples(valid, lambda _epoch: flipped("none"))
        return PixelExamples(train, anew), plain, parts
    policy = training_policy(training.plan.precision, training.plan.recipe, stage)
    fast = training.frozen_part(model, trained, policy, exact=False)
    judge = fast
    if not training.is_fold:
        # A fold validates on what others train on, so those features are there already.
        judge = training.frozen_part(model, trained, policy, exact=True)
    # Judging every view in every epoch is costly; an exact fit is judged a few times.
    views = training.plan.recipe.views if stage.optimizer == EXACT else ("none",)
    judged = [judge.features(valid.photos, flipped(view)) for view in views]
    validated = FeatureExamples(valid, judged)
    if augmentation != Augmentation() and not stage.passes:
        return FreshFeatures(train, anew, fast.compute), validated, parts
    numbers = range(1, stage.passes + 1)
    seed = training.plan.seed  # not the member's: all of them share the passes
    changes = [
        *(flipped(view) for view in stage.views),
        *(augmented(augmentation, seed, number) for number in numbers),
    ]
    learnt = [fast.features(train.photos, change) for change in changes]
    return FeatureExamples(train, learnt), validated, parts


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
    write_snapshot(_member_file(folder, number), Snapshot(weights, facts))


def _trained_places(training: MemberTraining) -> list[int]:
    network = training.network("float32")
    names = ever_trained(training.plan.recipe.stages, network)
    layers = [layer for layer in network.model.layers if layer.name in names]
    own = {id(weight) for layer in layers for weight in layer.weights}
    weights = enumerate(network.model.weights)
    return [place for place, weight in weights if id(weight) in own]


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


def _member_file(folder: Path, number: int) -> Path:
    return folder / f"member-{number}.npz"


def _average(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    if len(logits) == 1:
        return logits[0]
    return np.asarray(mean_logits(logits), np.float32)
