"""Overrides: recipes changed by the options of `kennel train`.

A value that cannot be used, or that would change nothing, is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from export.recipes.catalogue import EXACT, RECIPES, Recipe, Stage
from models.errors import InvalidRequestError
from models.networks.network import OPTIONS_BY_HEAD

STAGE_OPTIONS: Final[Mapping[str, Callable[[str], Any]]] = MappingProxyType(
    {
        "epochs": int,
        "patience": int,
        "learning_rate": float,
        "optimizer": str,
        "schedule": str,
        "passes": int,
    }
)
"""Options of a stage: one value for all stages, or one for each, separated by commas."""

HEAD_OPTIONS: Final = ("dropout", "hidden")
OPTIONS: Final = (
    *("network", "image_size", *STAGE_OPTIONS, *HEAD_OPTIONS, "augmentation"),
    *("batch_size", "label_smoothing", "members", "folds", "views"),
)
"""Every option that `override` takes."""

_SOLVED_EXACTLY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "schedule": "it has no learning rate to change",
        "batch_size": "it takes all photos at once",
        "label_smoothing": "it learns the labels as they are",
        "members": "members from different seeds would be alike",
    }
)
"""Options without effect on a recipe that is solved exactly, and the reason."""

_MOST_PIXELS: Final = 4096
"""Longest side of a network's input: larger ones are typing errors and exhaust memory."""

_POSITIVE: Final = ("epochs", "patience", "learning_rate", "batch_size", "members")


def override(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """*recipe* with the values of *options*; None leaves a value as it is.

    Raises:
        InvalidRequestError: a value cannot be read or used, or would change nothing;
            the message names it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    head = {name: given.pop(name) for name in HEAD_OPTIONS if name in given}
    changed = replace(recipe, head=replace(recipe.head, **head))
    if "augmentation" in given:
        changed = _each_stage(
            changed, "augmentation", [given.pop("augmentation")] * len(recipe.stages)
        )
    for name, read in STAGE_OPTIONS.items():
        if name in given:
            values = _stage_values(name, str(given.pop(name)), read, recipe)
            changed = _each_stage(changed, name, values)
    if "network" in given:
        _check_taps(recipe, given["network"])
        given.setdefault("image_size", _usual_size(given["network"]))
    changed = replace(changed, **given)
    _check_values(changed)
    _check_effects(changed, [name for name in options if options[name] is not None])
    return changed


def option_value(recipe: Recipe, name: str) -> str:
    """The value of the option *name* in *recipe*, as a user would type it."""
    if name in STAGE_OPTIONS or name == "augmentation":
        values = [_as_typed(getattr(stage, name)) for stage in recipe.stages]
        return values[0] if len(set(values)) == 1 else ",".join(values)
    if name in HEAD_OPTIONS:
        return _as_typed(getattr(recipe.head, name))
    if name == "image_size":
        return str(recipe.image_size[0])
    return _as_typed(getattr(recipe, name))


def changed_options(recipe: Recipe) -> dict[str, str]:
    """The options that differ from the catalogue, with their values in *recipe*.

    None for a recipe that is not in the catalogue.
    """
    original = RECIPES.get(recipe.name, recipe)
    values = {name: option_value(recipe, name) for name in OPTIONS}
    return {n: v for n, v in values.items() if v != option_value(original, n)}


def _as_typed(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_effects(recipe: Recipe, given: Sequence[str]) -> None:
    for name in set(HEAD_OPTIONS) - OPTIONS_BY_HEAD.get(
        recipe.head.kind, set(HEAD_OPTIONS)
    ):
        if name in given:
            message = (
                f"--{name} changes nothing in recipe {recipe.name}: its "
                f"{recipe.head.kind} head trains no such layers; leave it out"
            )
            raise InvalidRequestError(message)
    if any(stage.optimizer != EXACT for stage in recipe.stages):
        return
    for name, reason in _SOLVED_EXACTLY.items():
        if name in given:
            option = f"--{name.replace('_', '-')}"
            message = (
                f"{option} changes nothing in recipe {recipe.name}, which is solved "
                f"exactly: {reason}; leave it out, or give --optimizer adamw"
            )
            raise InvalidRequestError(message)


def _check_taps(recipe: Recipe, network: str) -> None:
    if recipe.head.taps and network != recipe.network:
        message = (
            f"recipe {recipe.name} taps layers of {recipe.network}: use --recipe "
            f"backbone --network {network}"
        )
        raise InvalidRequestError(message)


def _usual_size(network: str) -> tuple[int, int]:
    # Here, so that listing runs does not wait for Keras, which takes seconds.
    from models.networks.registry import find_network

    return find_network(network).image_size


def _stage_values(
    name: str, text: str, read: Callable[[str], Any], recipe: Recipe
) -> Sequence[Any]:
    option = f"--{name.replace('_', '-')}"
    try:
        values = [read(part.strip()) for part in text.split(",")]
    except ValueError as error:
        message = f"{option} {text!r}: give a number, or one for each stage (3,10)"
        raise InvalidRequestError(message) from error
    if len(values) == 1:
        values *= len(recipe.stages)
    if len(values) != len(recipe.stages):
        count = len(recipe.stages)
        stages = f"{count} stages: give one value or one for each"
        message = (
            f"{option} {text!r} has {len(values)} values, recipe {recipe.name} has "
            f"{stages if count > 1 else 'one stage: give one value'}"
        )
        raise InvalidRequestError(message)
    return values


def _each_stage(recipe: Recipe, name: str, values: Sequence[Any]) -> Recipe:
    stages: list[Stage] = [
        replace(stage, **{name: value})
        for stage, value in zip(recipe.stages, values, strict=True)
    ]
    return replace(recipe, stages=tuple(stages))


def _check_values(recipe: Recipe) -> None:
    values = [(name, getattr(recipe, name, None)) for name in _POSITIVE]
    for stage in recipe.stages:
        values += [(name, getattr(stage, name, None)) for name in _POSITIVE]
    for name, value in values:
        if value is not None and not 0 < value < math.inf:
            option = f"--{name.replace('_', '-')}"
            limit = "finite" if value == math.inf else "above 0"
            raise InvalidRequestError(f"{option} {value}: it must be {limit}")
    if (side := recipe.image_size[0]) > _MOST_PIXELS:
        message = f"--image-size {side}: it must be at most {_MOST_PIXELS:,}"
        raise InvalidRequestError(message)
    _check_ranges(recipe)


def _check_ranges(recipe: Recipe) -> None:
    for name, share in (
        ("dropout", recipe.head.dropout),
        ("label-smoothing", recipe.label_smoothing),
    ):
        if share is not None and not 0 <= share < 1:
            raise InvalidRequestError(f"--{name} {share}: it must be in [0, 1)")
    for units in recipe.head.hidden:
        if units <= 0:
            raise InvalidRequestError(f"--hidden {units}: it must be above 0")
    if recipe.folds < 0 or recipe.folds == 1:
        raise InvalidRequestError(f"--folds {recipe.folds}: use 2 or more, 0 for none")
    for passes in (stage.passes for stage in recipe.stages):
        if passes < 0:
            raise InvalidRequestError(f"--passes {passes}: use 0 or more")
