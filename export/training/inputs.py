"""What a stage trains and validates on: cached features where it can, else pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from export.data.augmentation.named import parse_augmentation
from export.data.augmentation.options import Augmentation
from export.progress import Progress
from export.training.assembly import assemble_recipe
from export.training.changes import PixelChange, augmented, seen_from
from export.training.examples import Examples, FeatureExamples, Part, PixelExamples
from export.training.frozen import FrozenPart
from export.training.plans import TrainingPlan
from export.training.precision import feature_policy
from export.training.recipes import Stage
from models.networks.freezing import cut

UNCHANGED = Augmentation()


@dataclass(frozen=True)
class MemberTraining:
    """What the stages of one member share."""

    plan: TrainingPlan
    number: int
    train: Part
    valid: Part
    progress: Progress

    @property
    def seed(self) -> int:
        """The plan's for the first member, drawn from it for the others."""
        if self.number == 1:
            return self.plan.seed
        entropy = np.random.SeedSequence([self.plan.seed, self.number])
        return int(entropy.generate_state(1)[0])

    def network(self, policy: str) -> Any:
        """The plan's network with random weights, its base in that *policy*."""
        return assemble_recipe(self.plan.recipe, len(self.plan.split.labels), policy)


@dataclass(frozen=True)
class StageInputs:
    """The examples of a stage, and the model that takes them: all of it or the rest."""

    train: Examples
    valid: Examples
    model: Any


def stage_inputs(
    training: MemberTraining, stage: Stage, model: Any, trained: frozenset[str]
) -> StageInputs:
    """Inputs for *stage* of the whole *model*, of which the layers *trained* train.

    Raises:
        DatasetError: the disk is too small for the features.
    """
    augmentation = parse_augmentation(stage.augmentation)
    parts = cut(model, trained)
    if parts.frozen is None or (augmentation != UNCHANGED and not stage.passes):
        return StageInputs(
            PixelExamples(
                training.train, partial(augmented, augmentation, training.seed)
            ),
            PixelExamples(training.valid, lambda _epoch: seen_from("none")),
            model,
        )
    numbers = range(1, stage.passes + 1)
    changes = [augmented(augmentation, training.seed, number) for number in numbers]
    policy = feature_policy(training.plan.precision, training.plan.recipe)
    weights = model.get_weights()

    def examples(
        part: Part, policy: str, dtype: str, *changes: PixelChange
    ) -> Examples:
        again = training.network(policy).model
        again.set_weights(weights)
        frozen = cut(again, trained).frozen
        cache, progress = training.plan.cache, training.progress
        features = FrozenPart(frozen, dtype, cache, progress)
        return FeatureExamples(
            part, [features.features(part, each) for each in changes]
        )

    return StageInputs(
        examples(training.train, policy, "float16", seen_from("none"), *changes),
        examples(training.valid, "float32", "float32", seen_from("none")),
        parts.trained,
    )
