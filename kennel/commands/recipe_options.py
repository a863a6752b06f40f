"""The options of `kennel train` that replace a recipe's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from models.errors import InvalidRequestError

if TYPE_CHECKING:
    from export.recipes.catalogue import Recipe


def recipe_options(command: Any) -> Any:
    """The options that replace a recipe's values; a comma separates stages' values."""
    options = [
        click.option("--network", help="Another network: see kennel networks."),
        click.option("--image-size", type=int, help="Pixels a side."),
        click.option("--epochs", help="At most, for example 10 or 3,10."),
        click.option("--patience", help="Epochs without a better validation loss."),
        click.option("--optimizer", help="adamw, adam, rmsprop, sgd ..."),
        click.option("--learning-rate", help="For example 1e-3 or 1e-3,1e-5."),
        click.option("--schedule", help="Of the learning rate: constant or cosine."),
        click.option("--dropout", type=float, help="Rate before the last layer."),
        click.option("--hidden", help="Units of the head's layers, such as 256,128."),
        click.option("--augmentation", help="A name, or dogscats,rotation=20 ..."),
        click.option("--passes", help="Augmented copies to cache; 0: anew each epoch."),
        click.option("--batch-size", type=int, help="Photos in a training step."),
        click.option("--label-smoothing", type=float, help="Share spread evenly."),
        click.option("--members", type=int, help="Models to train and average."),
        click.option("--folds", type=int, help="Cross-validate; then train on all."),
        click.option("--views", help="Flips to average: none,horizontal ..."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def read_recipe(name: str, options: Mapping[str, Any]) -> Recipe:
    """The recipe called *name*, changed by what the command line gave.

    Raises:
        InvalidRequestError: no such recipe, or a value that cannot be.
    """
    from export.recipes.catalogue import find_recipe

    return change_recipe(find_recipe(name), options)


def change_recipe(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """*recipe*, changed by what the command line gave.

    Raises:
        InvalidRequestError: a value that cannot be, or would change nothing.
    """
    from export.recipes.overrides import override

    values = dict(options)
    if values.get("image_size") is not None:
        values["image_size"] = (values["image_size"], values["image_size"])
    if values.get("hidden") is not None:
        values["hidden"] = _numbers(values["hidden"])
    if values.get("views") is not None:
        values["views"] = read_views(values["views"])
    return override(recipe, values)


def read_views(text: str) -> tuple[str, ...]:
    """The views that a comma separates in *text*."""
    return tuple(part.strip() for part in text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        message = f"--hidden {text!r}: give numbers of units, such as 256,128"
        raise InvalidRequestError(message) from error
