"""The network of a recipe: checks, assembly, precision and initial weights.

A recipe is checked as a whole before anything is computed with it: an error in its second
stage must not cost the hours of the first. bfloat16 is twice as fast where the processor has
it, at a relative error of 0.6 % in VGG16's features, the size of a small augmentation.
Validation is always float32, as the model will be served.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from export.data.augmentation import Augmentation, parse_augmentation
from export.recipes.catalogue import EXACT, Recipe, Stage
from export.training.exact import MAX_ROWS
from export.training.runs import Parameters
from export.training.stage import build_optimizer, learning_rate
from models.contract import INT8
from models.environment import processor_flags
from models.errors import DatasetError, InvalidRequestError, quoted_names
from models.networks.freezing import cut, trained_layers
from models.networks.heads import AssembledNetwork, assemble, insert_batch_normalisation
from models.networks.network import NORMALISED_HEAD, SECOND_ORDER_HEAD, TOP_HEAD, VIEWS
from models.networks.quantization import convolves, read_chain
from models.networks.registry import find_network
from models.networks.vgg16 import DENSE_LAYERS
from models.networks.weights import (
    DENSE_WEIGHTS_MISSING,
    PretrainedWeights,
    apply_weights,
    load_weights,
)

POLICIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "float32": "float32",
        "bfloat16": "mixed_bfloat16",
        "float16": "mixed_float16",
        INT8: "float32",
    }
)
"""The Keras policy of each precision that users can name; integers need none."""

_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
KEEPS: Final = ("best", "last")
"""Values of a stage's ``keep``."""


def assemble_recipe(
    recipe: Recipe, classes: int, policy: str = "float32"
) -> AssembledNetwork:
    """The network of *recipe* for that many *classes*, its base in a Keras *policy*.

    Raises:
        InvalidRequestError: network, head or image size are not possible.
    """
    network = find_network(recipe.network)
    return assemble(network, recipe.head, classes, recipe.image_size, policy)


def check_recipe(
    recipe: Recipe, classes: int, photos: int = 0, precision: str = "auto"
) -> None:
    """Accept *recipe* for a model of that many *classes*, learning from *photos*.

    Raises:
        InvalidRequestError: a network, layer, view, augmentation, optimizer or schedule
            does not exist, does not go with the others, or would change nothing; the
            photos are too many to be solved exactly; or the *precision* is "int8" and
            convolutions train or cannot be integers.
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
        if precision == INT8:
            _check_integers(recipe, stage, network)
            read_chain(parts.frozen)
        _check_copies(stage, cached=parts.frozen is not None)
        if recipe.batch_size == 1 and stage.optimizer != EXACT:
            _check_normalised(parts.trained, trained_layers(network, stage.trains))


def recipe_weights(recipe: Recipe, choice: str) -> PretrainedWeights | None:
    """The pretrained weights that *choice* names; None: random ones.

    Raises:
        DatasetError: the weights are not available; the message names the recipe to use
            instead.
    """
    if recipe.needs == "nothing" and choice == "auto":
        return None
    try:
        return load_weights(choice, recipe.network, dense=recipe.needs == "dense")
    except DatasetError as error:
        if error.code != DENSE_WEIGHTS_MISSING:
            raise
        message = f"{error}: --recipe {recipe.instead} instead of {recipe.name}"
        raise DatasetError(message, code=error.code) from error


def initial_weights(
    recipe: Recipe,
    classes: int,
    seeds: tuple[int, int],
    pretrained: PretrainedWeights | None,
    photos: Iterable[NDArray[np.uint8]],
) -> list[NDArray[Any]]:
    """The weights that training begins with: pretrained layers, random ones for the rest.

    *seeds*: of the run and of the member. Layers that no stage trains come from the run's,
    so that all members share them. *photos*: batches of training pixels, from which the batch
    normalisation of a "normalised" head becomes an identity.

    Raises:
        DatasetError: the pretrained weights are those of another network.
    """
    if recipe.head.kind == NORMALISED_HEAD:
        plain = replace(recipe, head=replace(recipe.head, kind=TOP_HEAD))
        model = assemble_recipe(plain, classes).model
        model.set_weights(initial_weights(plain, classes, seeds, pretrained, ()))
        normalised = insert_batch_normalisation(model, DENSE_LAYERS, photos)
        return list(normalised.get_weights())
    network = _random(recipe, classes, seeds[1])
    shared = network if seeds[0] == seeds[1] else _random(recipe, classes, seeds[0])
    trained = ever_trained(recipe.stages, network)
    for layer in network.model.layers:
        if layer.name not in trained:
            layer.set_weights(shared.model.get_layer(layer.name).get_weights())
    if pretrained is not None:
        apply_weights(network.model, pretrained, _pretrained_layers(recipe, network))
    return list(network.model.get_weights())


def usual_precision(recipe: Recipe) -> str:
    """bfloat16 where the processor has it and the base of *recipe* is pretrained.

    Networks from scratch are small and stay in float32.
    """
    if recipe.needs == "nothing":
        return "float32"
    return "bfloat16" if has_bfloat16() else "float32"


def has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16, which makes it faster than float32."""
    return bool(_FLAGS & processor_flags())


def feature_policy(precision: str, recipe: Recipe) -> str:
    """The policy of the frozen features that *recipe* trains on.

    *precision* "auto" is the `usual_precision`.
    """
    return POLICIES[usual_precision(recipe) if precision == "auto" else precision]


def training_policy(precision: str, recipe: Recipe, stage: Stage) -> str:
    """The policy of the base while *stage* trains: heads alone stay in float32."""
    if stage.trains in {"last", "head"}:
        return POLICIES["float32"]
    return feature_policy(precision, recipe)


def ever_trained(stages: Sequence[Stage], network: AssembledNetwork) -> frozenset[str]:
    """Names of the layers that some of the *stages* trains."""
    trained = [trained_layers(network, stage.trains) for stage in stages]
    return frozenset[str]().union(*trained)


def count_parameters(
    recipe: Recipe, network: AssembledNetwork, kept: Sequence[Stage]
) -> Parameters:
    """Count the parameters of *network*; *kept*: the stages whose result was kept."""

    def trained(stages: Sequence[Stage]) -> int:
        names = ever_trained(stages, network)
        layers = [each for each in network.model.layers if each.name in names]
        weights = [weight for each in layers for weight in each.trainable_weights]
        return sum(math.prod(weight.shape) for weight in weights)

    return Parameters(
        all=network.model.count_params(),
        trained=trained(kept),
        stages=tuple(trained([stage]) for stage in recipe.stages),
    )


def _check_stage(recipe: Recipe, stage: Stage) -> None:
    _check_views(stage.views)
    learning_rate(stage, epoch=1)
    if stage.keep not in KEEPS:
        message = f"a stage keeps {stage.keep!r}: choose of {', '.join(KEEPS)}"
        raise InvalidRequestError(message)
    if stage.optimizer != EXACT:
        build_optimizer(recipe, stage)
    elif recipe.head.kind != SECOND_ORDER_HEAD:
        message = (
            f"--optimizer {EXACT} solves second-order heads, recipe {recipe.name} has "
            f"a {recipe.head.kind} one: use adamw, or --recipe second-order"
        )
        raise InvalidRequestError(message)


def _random(recipe: Recipe, classes: int, seed: int) -> AssembledNetwork:
    keras.utils.set_random_seed(seed)
    return assemble_recipe(recipe, classes)


def _pretrained_layers(recipe: Recipe, network: AssembledNetwork) -> frozenset[str]:
    dense = {*DENSE_LAYERS, "predictions"} if recipe.needs == "dense" else set()
    present = {layer.name for layer in network.model.layers}
    return frozenset({*network.base, *dense} & present)


def _check_normalised(model: Any, trained: frozenset[str]) -> None:
    for layer in model.layers:
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        if normalises and layer.name in trained and len(layer.output.shape) == 2:
            message = (
                f"--batch-size 1: {layer.name} normalises each value over the batch, and "
                "one photo leaves nothing of it: use 2 or more"
            )
            raise InvalidRequestError(message)


def _check_integers(recipe: Recipe, stage: Stage, network: AssembledNetwork) -> None:
    trained = trained_layers(network, stage.trains) & set(network.base)
    layers = [each for each in network.model.layers if each.name in trained]
    if names := [each.name for each in layers if convolves(each)]:
        message = (
            f"recipe {recipe.name} trains the convolutions {quoted_names(names)}, and "
            "--precision int8 computes frozen ones: use --recipe pooled or second-order, "
            "or --precision bfloat16"
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
