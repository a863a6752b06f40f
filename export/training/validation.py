"""Validation logits as the exported model will give them: float32, members and views."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from export.stages.answers import predict_logits
from export.stages.changes import seen_from
from export.stages.examples import Examples, FeatureExamples, PixelExamples
from export.training.assembly import ever_trained
from export.training.classifier import mean_logits
from export.training.member_training import MemberTraining
from export.training.members import Member
from models.networks.freezing import cut


def validation_logits(
    trainings: Sequence[MemberTraining], members: Sequence[Member]
) -> NDArray[np.float32]:
    """Logits [N, K] of the validation photos: members and views averaged.

    Folds are not averaged: each photo is judged by the member that has not seen it.
    """
    found = [
        member_logits(training, member)
        for training, member in zip(trainings, members, strict=True)
    ]
    if not trainings[0].is_fold:
        return _mean([each for logits in found for each in logits])
    rows = np.concatenate([training.valid.rows for training in trainings])
    merged = np.concatenate([_mean(logits) for logits in found])
    return np.asarray(merged[np.argsort(rows)])


def _mean(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return (
        logits[0] if len(logits) == 1 else np.asarray(mean_logits(logits), np.float32)
    )


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

    exact = not training.is_fold
    frozen = (
        training.frozen_part(network.model, trained, "float32", exact=exact)
        if parts.frozen
        else None
    )

    def examples(view: str) -> Examples:
        change = seen_from(view)
        if frozen is None:
            return PixelExamples(training.valid, lambda _epoch: change)
        features = frozen.features(training.valid.photos, change)
        return FeatureExamples(training.valid, [features])

    return [predict_logits(parts.trained, examples(view)) for view in recipe.views]
