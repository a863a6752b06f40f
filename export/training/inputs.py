"""What a stage trains and validates on: cached features where it can, else pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from export.data.augmentation import Augmentation, parse_augmentation
from export.recipes.catalogue import EXACT, Stage
from export.stages.changes import augmented, seen_from
from export.stages.examples import (
    Examples,
    FeatureExamples,
    FreshFeatures,
    PixelExamples,
)
from export.training.member_training import MemberTraining
from export.training.precision import training_policy
from models.networks.freezing import CutNetwork, cut

UNCHANGED = Augmentation()


@dataclass(frozen=True)
class StageInputs:
    """The examples of a stage, and the network whose ``trained`` part takes them."""

    train: Examples
    valid: Examples
    network: CutNetwork


def stage_inputs(
    training: MemberTraining, stage: Stage, model: Any, trained: frozenset[str]
) -> StageInputs:
    """Inputs for *stage* of the whole *model*, of which the layers *trained* train.

    Raises:
        DatasetError: the disk is too small for the features.
    """
    augmentation = parse_augmentation(stage.augmentation)
    parts = cut(model, trained)
    train, valid = training.train, training.valid
    anew = partial(augmented, augmentation, training.seed)
    if parts.frozen is None:
        return StageInputs(
            PixelExamples(train, anew),
            PixelExamples(valid, lambda _epoch: seen_from("none")),
            parts,
        )
    policy = training_policy(training.plan.precision, training.plan.recipe, stage)
    fast = training.frozen_part(model, trained, policy, exact=False)
    judge = fast
    if not training.is_fold:
        # A fold validates on what others train on, so those features are there already.
        judge = training.frozen_part(model, trained, policy, exact=True)
    # Judging every view in every epoch is dear; an exact fit is judged a few times.
    views = training.plan.recipe.views if stage.optimizer == EXACT else ("none",)
    judged = [judge.features(valid.photos, seen_from(view)) for view in views]
    validated = FeatureExamples(valid, judged)
    if augmentation != UNCHANGED and not stage.passes:
        return StageInputs(FreshFeatures(train, anew, fast.compute), validated, parts)
    numbers = range(1, stage.passes + 1)
    seed = training.plan.seed  # not the member's: all of them share the passes
    changes = [
        *(seen_from(view) for view in stage.views),
        *(augmented(augmentation, seed, number) for number in numbers),
    ]
    learnt = [fast.features(train.photos, change) for change in changes]
    return StageInputs(FeatureExamples(train, learnt), validated, parts)
