"""Validation logits as the exported model will give them: float32, members and views."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from export.training.answers import predict_logits
from export.training.changes import seen_from
from export.training.classifier import cut_trained, mean_logits
from export.training.examples import Examples, FeatureExamples, PixelExamples
from export.training.frozen import FrozenPart
from export.training.inputs import MemberTraining
from export.training.members import Member
from models.networks.freezing import CutNetwork


def validation_logits(
    trainings: Sequence[MemberTraining], members: Sequence[Member]
) -> NDArray[np.float32]:
    """Logits [N, K] of the validation photos, averaged over members and views."""
    logits = [
        each
        for training, member in zip(trainings, members, strict=True)
        for each in _member_logits(training, member)
    ]
    if len(logits) == 1:
        return logits[0]
    return np.asarray(mean_logits(logits), np.float32)


def _member_logits(
    training: MemberTraining, member: Member
) -> list[NDArray[np.float32]]:
    keras.backend.clear_session()
    recipe = training.plan.recipe
    network = training.network("float32")
    network.model.set_weights(list(member.weights))
    parts = cut_trained(recipe, network)
    return [
        predict_logits(parts.trained, _examples(training, parts, view))
        for view in recipe.views
    ]


def _examples(training: MemberTraining, parts: CutNetwork, view: str) -> Examples:
    change = seen_from(view)
    if parts.frozen is None:
        return PixelExamples(training.valid, lambda _epoch: change)
    frozen = FrozenPart(parts.frozen, "float32", training.plan.cache, training.progress)
    return FeatureExamples(training.valid, [frozen.features(training.valid, change)])
