"""What the stages of one member share: photos, network, frozen part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from export.progress import Progress
from export.stages.examples import Part
from export.stages.frozen import FrozenPart
from export.training.assembly import assemble_recipe
from export.training.plans import TrainingPlan
from export.training.precision import feature_policy
from models.networks.freezing import cut
from models.networks.heads import AssembledNetwork


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
        """The plan's for the first member, drawn from it for the others."""
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
        """What stays the same of *model*, in that *policy*, while *trained* trains.

        *exact*: float32 in and out, as the model will be served; else the plan's
        precision, kept as float16.
        """
        fast = feature_policy(self.plan.precision, self.plan.recipe)
        wanted, dtype = ("float32", "float32") if exact else (fast, "float16")
        if wanted != policy:
            weights = model.get_weights()
            model = self.network(wanted).model
            model.set_weights(weights)
        frozen = cut(model, trained).frozen
        return FrozenPart(frozen, dtype, self.plan.cache, self.progress)
