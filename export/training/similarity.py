"""How much a pretrained network already knows of some photos, measured on a few."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.progress import Progress
from export.recipes.catalogue import LINEAR
from export.stages.changes import seen_from
from export.training.assembly import ever_trained, initial_weights, recipe_weights
from export.training.member_training import MemberTraining
from export.training.photo_sets import prepare_photos
from export.training.plans import TrainingPlan

PROBE_PHOTOS: Final = 200


def measure_similarity(plan: TrainingPlan, progress: Progress) -> float | None:
    """`class_mean_skill` of frozen features on training photos of *plan*.

    None when *plan* starts from random weights.

    Raises:
        DatasetError: photos or weights cannot be used.
    """
    recipe = replace(LINEAR, image_size=plan.recipe.image_size)
    probe = replace(plan, recipe=recipe)
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
    features = frozen.features(found, seen_from("none")).rows(np.arange(len(photos)))
    return class_mean_skill(features[0], found.targets.argmax(axis=1), plan.seed)


def class_mean_skill(
    features: NDArray[np.floating], classes: NDArray[np.integer], seed: int
) -> float:
    """How well the nearest class mean labels held-out rows: 0 guessing, 1 always right.

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
