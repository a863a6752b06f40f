"""A recipe's network, put together, and the weights it begins with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from export.recipes.catalogue import Recipe, Stage
from models.errors import DatasetError
from models.networks.freezing import trained_layers
from models.networks.heads import AssembledNetwork, assemble, insert_batch_normalisation
from models.networks.network import NORMALISED, TOP
from models.networks.registry import find_network
from models.networks.vgg16 import DENSE_LAYERS
from models.networks.weights import (
    DENSE_WEIGHTS_MISSING,
    PretrainedWeights,
    apply_weights,
    load_weights,
)

Weights = list[NDArray[Any]]
"""All of a network's, in its order."""


def assemble_recipe(
    recipe: Recipe, classes: int, policy: str = "float32"
) -> AssembledNetwork:
    """The network of *recipe* for that many *classes*, its base in a Keras *policy*.

    Raises:
        InvalidRequestError: network, head or image size cannot be.
    """
    network = find_network(recipe.network)
    return assemble(network, recipe.head, classes, recipe.image_size, policy)


def ever_trained(stages: Sequence[Stage], network: AssembledNetwork) -> frozenset[str]:
    """Names of the layers that some of the *stages* trains."""
    trained = [trained_layers(network, stage.trains) for stage in stages]
    return frozenset[str]().union(*trained)


@dataclass(frozen=True)
class Parameters:
    """How many parameters one model has, and how many of them were trained.

    Attributes:
        all: with the statistics of batch normalisation, which are measured, not trained.
        trained: by any stage whose result was kept.
        stages: trained by each stage.
    """

    all: int
    trained: int
    stages: tuple[int, ...]


def count_parameters(
    recipe: Recipe, network: AssembledNetwork, kept: Sequence[Stage]
) -> Parameters:
    """Those of *network*; *kept* are the stages of *recipe* whose result was kept."""

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


def recipe_weights(recipe: Recipe, choice: str) -> PretrainedWeights | None:
    """The pretrained weights that *choice* names; None: random ones.

    Raises:
        DatasetError: they cannot be had; it names the recipe to use instead.
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
) -> Weights:
    """What training begins with: pretrained layers, and random ones for the rest.

    *seeds*: of the run and of the member. What no stage trains comes from the run's, so
    that all members share it. *photos*: batches of training pixels, from which the batch
    normalisation of a "normalised" head becomes an identity.

    Raises:
        DatasetError: the pretrained weights are those of another network.
    """
    if recipe.head.kind == NORMALISED:
        plain = replace(recipe, head=replace(recipe.head, kind=TOP))
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


def _random(recipe: Recipe, classes: int, seed: int) -> AssembledNetwork:
    keras.utils.set_random_seed(seed)
    return assemble_recipe(recipe, classes)


def _pretrained_layers(recipe: Recipe, network: AssembledNetwork) -> frozenset[str]:
    dense = {*DENSE_LAYERS, "predictions"} if recipe.needs == "dense" else set()
    present = {layer.name for layer in network.model.layers}
    return frozenset({*network.base, *dense} & present)
