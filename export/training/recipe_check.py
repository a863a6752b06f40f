"""A recipe is looked at as a whole before anything is computed with it.

What only the second stage would stumble over must not cost the hours of the first.
"""

from __future__ import annotations

from export.data.augmentation.named import parse_augmentation
from export.recipes.recipe import Recipe, Stage
from export.stages.exact import EXACT
from export.stages.optimizers import build_optimizer, learning_rate
from export.training.assembly import assemble_recipe
from models.errors import InvalidRequestError
from models.networks.freezing import trained_layers
from models.networks.head import SECOND_ORDER
from models.networks.views import VIEWS

KEEPS = ("best", "last")


def check_recipe(recipe: Recipe, classes: int) -> None:
    """Accept *recipe* for a model of that many *classes*.

    Raises:
        InvalidRequestError: it names a network, layer, view, augmentation, optimizer
            or schedule that there is not, or that do not go together.
    """
    network = assemble_recipe(recipe, classes)
    _check_views(recipe.views)
    for stage in recipe.stages:
        trained_layers(network, stage.trains)
        _check_stage(recipe, stage)


def _check_stage(recipe: Recipe, stage: Stage) -> None:
    _check_views(stage.views)
    parse_augmentation(stage.augmentation)
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


def _check_views(views: tuple[str, ...]) -> None:
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views:
        known = ", ".join(VIEWS)
        message = f"no view {unknown[0] if unknown else ''!r}: choose of {known}"
        raise InvalidRequestError(message)
