"""Remedies for a training run that went wrong, the most promising first.

Only options that the run's recipe supports and did not use. The order for overfitting is
that of the fast.ai course (2016), lesson 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from export.recipes.catalogue import EXACT, RECIPES, Recipe
from export.recipes.overrides import override
from models.errors import InvalidRequestError
from models.networks.network import OPTIONS_BY_HEAD, TOP_HEAD

Kind = Literal[
    "well fit",
    "too few photos",
    "diverged",
    "unstable",
    "collapsed",
    "no better than guessing",
    "not converged",
    "overfit",
    "underfit",
    "overconfident",
]
"""Diagnoses. Collapsed: few of the labels are predicted. Overconfident: probabilities are
nearer to 0 and 1 than the accuracy allows."""

DEEPER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "linear": "pooled",
        "pooled": "conv-block5",
        "second-order": "conv-block5",
        "small-bn": "conv-block5",
        "small-bn-augmented": "conv-block5",
        "conv-block5": "conv-block4",
        "conv-block4": "everything",
        "imagenet-linear": "last-layer",
        "last-layer": "dense",
        "dense": "conv-block5",
        "no-dropout": "conv-block5",
        "batch-normalised": "conv-block5",
        "lenet5": "scratch",
    }
)
"""The recipe that trains more than this one, on photos of the same kind."""

SHALLOWER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "everything": "conv-block4",
        "conv-block4": "conv-block5",
        "conv-block5": "pooled",
        "pooled": "linear",
        "small-bn": "linear",
        "small-bn-augmented": "linear",
        "dense": "last-layer",
        "no-dropout": "last-layer",
        "batch-normalised": "last-layer",
        "scratch": "lenet5",
        "scratch-photos": "pooled",
    }
)
"""The recipe that trains less than this one, on photos of the same kind."""

WITH_NORMALISATION: Final[Mapping[str, str]] = MappingProxyType(
    {
        "last-layer": "batch-normalised",
        "dense": "batch-normalised",
        "no-dropout": "batch-normalised",
        "lenet5": "scratch",
    }
)
"""The recipe with batch normalisation for one whose network has none."""

OWN_DROPOUT: Final[Mapping[str, float]] = MappingProxyType(
    {"vgg16": 0.5, "conv3": 0.5, "mnist-bn": 0.5, "lenet5": 0.0, "conv1": 0.0}
)
"""Dropout of networks whose recipe names none; for keras.applications it is 0.2."""

GREY: Final = ("lenet5", "mnist-bn")
"""Networks for digits and the like, whose images must not be flipped."""

Suggestion = tuple[str, Mapping[str, Any]]
"""A remedy in words, and the options of `override` that carry it out, if any."""


def remedies(kind: Kind, recipe: Recipe, stage: int) -> tuple[str, ...]:
    """Remedies for *kind*, seen in *stage* (from 1) of *recipe*, the best first.

    Options are those of ``kennel train``; each is possible for the recipe and changes it.
    """
    suggest = _REMEDIES.get(kind)
    return tuple(
        f"{words}: {_written(options)}" if options else words
        for words, options in (suggest(recipe, stage) if suggest else ())
        if not options or _changes(recipe, options)
    )


def scaled_rate(recipe: Recipe, stage: int, factor: float) -> str:
    """The option that multiplies the learning rate of *stage* (from 1) by *factor*.

    The recipe's own rate is taken instead if it lies further in that direction.
    """
    return " or ".join(
        _written(options) for _, options in _rate("", recipe, stage, factor)
    )


def stronger(recipe: Recipe) -> str:
    """Options that make *recipe* learn more, with "or" between them; "" if there are none."""
    options = [*_recipe("", recipe, DEEPER), *_hidden("", recipe, 2)]
    return " or ".join(_written(each) for _, each in options)


def _diverged(recipe: Recipe, stage: int) -> Iterator[Suggestion]:
    yield from _rate("a smaller learning rate", recipe, stage, 0.1)


def _unstable(recipe: Recipe, stage: int) -> Iterator[Suggestion]:
    yield from _rate("a smaller learning rate", recipe, stage, 0.1)
    if _is_learnt(recipe):
        yield "a learning rate that falls", {"schedule": "cosine"}


def _collapsed(recipe: Recipe, stage: int) -> Iterator[Suggestion]:
    yield from _rate("a smaller learning rate", recipe, stage, 0.1)
    yield (
        "look at photos of the labels that are never predicted: kennel report RUN",
        {},
    )
    yield "as many photos of each class as of the others", {}


def _guessing(recipe: Recipe, stage: int) -> Iterator[Suggestion]:
    yield "check that photos and labels belong together: kennel report RUN", {}
    yield "check that 50 photos can be learnt: kennel train DATA --overfit 50", {}
    yield from _rate("a smaller learning rate", recipe, stage, 0.1)
    yield from _rate("or a larger one", recipe, stage, 10)
    yield from _recipe("train more layers", recipe, DEEPER)


def _not_converged(recipe: Recipe, stage: int) -> Iterator[Suggestion]:
    epochs = [each.epochs for each in recipe.stages]
    epochs[stage - 1] *= 2
    yield "train longer", {"epochs": ",".join(map(str, epochs))}
    yield from _rate("a larger learning rate", recipe, stage, 3)


def _overfit(recipe: Recipe, _stage: int) -> Iterator[Suggestion]:
    yield "more photos", {}
    if _is_learnt(recipe) and not _is_augmented(recipe):
        name = "mnist" if recipe.network in GREY else "photos"
        cached = all(each.trains != "all" for each in recipe.stages)
        yield "augmentation", {"augmentation": name} | ({"passes": 5} if cached else {})
    yield from _recipe("batch normalisation", recipe, WITH_NORMALISATION)
    yield from _dropout("regularisation, more dropout", recipe, 0.2)
    yield from _recipe("train fewer layers", recipe, SHALLOWER)
    yield from _hidden("a smaller model", recipe, 0.5)


def _underfit(recipe: Recipe, stage: int) -> Iterator[Suggestion]:
    yield from _dropout("less dropout", recipe, -0.3)
    if _is_augmented(recipe):
        yield "no augmentation", {"augmentation": "none", "passes": 0}
    yield from _rate("a larger learning rate", recipe, stage, 3)
    yield from _recipe("train more layers", recipe, DEEPER)
    yield from _hidden("a larger model", recipe, 2)
    yield "look for wrong labels among the photos that it misses: kennel report RUN", {}


def _overconfident(recipe: Recipe, _stage: int) -> Iterator[Suggestion]:
    yield "nothing, for the served model: its temperature corrects this", {}
    if _is_learnt(recipe) and not recipe.label_smoothing:
        yield "label smoothing", {"label_smoothing": 0.05}
    yield from _dropout("more dropout", recipe, 0.2)
    if _is_learnt(recipe) and recipe.members == 1:
        yield "several models averaged", {"members": 5}


def _too_few(recipe: Recipe, _stage: int) -> Iterator[Suggestion]:
    yield "more labelled photos", {}
    if not recipe.folds:
        yield "validate on every photo, unless the split is by group", {"folds": 5}


_REMEDIES: Final[Mapping[str, Callable[[Recipe, int], Iterator[Suggestion]]]] = (
    MappingProxyType(
        {
            "too few photos": _too_few,
            "diverged": _diverged,
            "unstable": _unstable,
            "collapsed": _collapsed,
            "no better than guessing": _guessing,
            "not converged": _not_converged,
            "overfit": _overfit,
            "underfit": _underfit,
            "overconfident": _overconfident,
        }
    )
)


def _rate(
    words: str, recipe: Recipe, stage: int, factor: float
) -> Iterator[Suggestion]:
    # The rate of a stage that is solved exactly is no learning rate.
    if recipe.stages[stage - 1].optimizer == EXACT:
        return
    rates = [each.learning_rate for each in recipe.stages]
    rates[stage - 1] *= factor
    own = RECIPES[recipe.name].stages if recipe.name in RECIPES else recipe.stages
    if own[stage - 1].optimizer != EXACT:
        further = max if factor > 1 else min
        rates[stage - 1] = further(rates[stage - 1], own[stage - 1].learning_rate)
    yield words, {"learning_rate": ",".join(f"{rate:g}" for rate in rates)}


def _dropout(words: str, recipe: Recipe, change: float) -> Iterator[Suggestion]:
    own = OWN_DROPOUT.get(recipe.network, 0.2) if recipe.head.kind == TOP_HEAD else 0.5
    now = own if recipe.head.dropout is None else recipe.head.dropout
    rate = min(max(round(now + change, 2), 0.0), 0.8)
    if "dropout" in OPTIONS_BY_HEAD[recipe.head.kind] and (rate - now) * change > 0:
        yield words, {"dropout": rate}


def _hidden(words: str, recipe: Recipe, factor: float) -> Iterator[Suggestion]:
    if recipe.head.hidden:
        units = tuple(max(1, int(each * factor)) for each in recipe.head.hidden)
        yield words, {"hidden": units}


def _recipe(
    words: str, recipe: Recipe, others: Mapping[str, str]
) -> Iterator[Suggestion]:
    name = others.get(recipe.name)
    # With another --network the step from recipe to recipe is not the one meant.
    if name and recipe.network == RECIPES[recipe.name].network:
        yield words, {"recipe": name}


def _is_learnt(recipe: Recipe) -> bool:
    return all(stage.optimizer != EXACT for stage in recipe.stages)


def _is_augmented(recipe: Recipe) -> bool:
    return any(stage.augmentation != "none" for stage in recipe.stages)


def _changes(recipe: Recipe, options: Mapping[str, Any]) -> bool:
    if "recipe" in options:
        return True
    try:
        return override(recipe, options) != recipe
    except InvalidRequestError:
        return False


def _written(options: Mapping[str, Any]) -> str:
    return " ".join(
        f"--{name.replace('_', '-')} "
        + (",".join(map(str, value)) if isinstance(value, tuple) else f"{value}")
        for name, value in options.items()
    )
