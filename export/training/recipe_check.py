"""A recipe is looked at as a whole before anything is computed with it.

What only the second stage would stumble over must not cost the hours of the first.
"""

from __future__ import annotations

from typing import Any

import keras

from export.data.augmentation import Augmentation, parse_augmentation
from export.recipes.catalogue import EXACT, Recipe, Stage
from export.stages.logistic import MAX_ROWS
from export.stages.optimizers import build_optimizer, learning_rate
from export.training.assembly import assemble_recipe
from models.errors import InvalidRequestError
from models.networks.freezing import cut, trained_layers
from models.networks.network import SECOND_ORDER, VIEWS

KEEPS = ("best", "last")


def check_recipe(recipe: Recipe, classes: int, photos: int = 0) -> None:
    """Accept *recipe* for a model of that many *classes*, learning from *photos*.

    Raises:
        InvalidRequestError: it names a network, layer, view, augmentation, optimizer
            or schedule that there is not, that do not go together, or that would
            change nothing; or the photos are too many to be solved exactly.
    """
    exact = any(stage.optimizer == EXACT for stage in recipe.stages)
    if exact and photos > MAX_ROWS:
        message = (
            f"recipe {recipe.name} is solved exactly, on at most {MAX_ROWS:,} photos, not "
            f"{photos:,}: use --recipe pooled"
        )
        raise InvalidRequestError(message)
    network = assemble_recipe(recipe, classes)
    _check_views(recipe.views)
    for stage in recipe.stages:
        _check_stage(recipe, stage)
        parts = cut(network.model, trained_layers(network, stage.trains))
        _check_copies(stage, cached=parts.frozen is not None)
        if recipe.batch_size == 1 and stage.optimizer != EXACT:
            _check_normalised(parts.trained, trained_layers(network, stage.trains))


def _check_stage(recipe: Recipe, stage: Stage) -> None:
    _check_views(stage.views)
    learning_rate(stage, epoch=1)
    if stage.keep not in KEEPS:
        message = f"a stage keeps {stage.keep!r}: choose of {', '.join(KEEPS)}"
        raise InvalidRequestError(message)
    if stage.optimizer != EXACT:
        build_optimizer(recipe, stage)
    elif recipe.head.kind != SECOND_ORDER:
        message = (
            f"--optimizer {EXACT} solves second-order heads, recipe {recipe.name} has "
            f"a {recipe.head.kind} one: use adamw, or --recipe second-order"
        )
        raise InvalidRequestError(message)


def _check_normalised(model: Any, trained: frozenset[str]) -> None:
    for layer in model.layers:
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        if normalises and layer.name in trained and len(layer.output.shape) == 2:
            message = (
                f"--batch-size 1: {layer.name} normalises each value over the batch, and "
                "one photo leaves nothing of it: use 2 or more"
            )
            raise InvalidRequestError(message)


def _check_copies(stage: Stage, *, cached: bool) -> None:
    changed = parse_augmentation(stage.augmentation) != Augmentation()
    if stage.passes and not cached:
        message = (
            f"--passes {stage.passes} caches features of frozen layers, but the stage "
            f"that trains {stage.trains!r} freezes none: use --passes 0 for it, which "
            "augments anew in each epoch"
        )
        raise InvalidRequestError(message)
    if stage.passes and not changed:
        message = (
            f"--passes {stage.passes} without augmentation learns the same photo "
            f"{stage.passes + 1} times: give --augmentation, or --passes 0"
        )
        raise InvalidRequestError(message)
    anew = not cached or (changed and not stage.passes)
    if anew and (stage.views != ("none",) or stage.optimizer == EXACT):
        message = (
            f"the stage that trains {stage.trains!r} learns from cached features, which "
            "photos augmented anew have none of: give --passes 5, or --augmentation none"
        )
        raise InvalidRequestError(message)


def _check_views(views: tuple[str, ...]) -> None:
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views:
        known = ", ".join(VIEWS)
        message = f"no view {unknown[0] if unknown else ''!r}: choose of {known}"
        raise InvalidRequestError(message)
    if len(set(views)) < len(views):
        message = f"views {','.join(views)}: name each view once"
        raise InvalidRequestError(message)
