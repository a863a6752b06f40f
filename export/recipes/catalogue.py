"""The recipes that Kennel knows, from the linear model to training from scratch.

Figures in ``expects`` that are not our own name their source. The fast.ai notebooks
trained on 23,000 cats and dogs from ImageNet's VGG16 with its dense layers, which are
not on every machine; recipes that need them say which to use instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from export.recipes.recipe import Recipe, Stage
from models.errors import InvalidRequestError
from models.networks.network import Head

_LESSON2: Final = "fast.ai course 2016, lesson 2"
_LESSON3: Final = "fast.ai course 2016, lesson 3"
_STATE_FARM: Final = "fast.ai course 2016, State Farm notebook"
_LAST: Final = Stage("last", epochs=5, learning_rate=1e-3, optimizer="adam")

POOLED: Final = Recipe(
    name="pooled",
    source="our own; mean and maximum pooling of late maps is common practice",
    expects="solar cells, 75/25 split: accuracy 0.86 to 0.88, log loss 0.29 to 0.35",
    head=Head(
        "pooled", taps=("block4_pool", "block5_pool"), hidden=(128,), dropout=0.6
    ),
)
"""A small head with batch normalisation on blocks 4 and 5: the default."""

_ALL_FLIPS: Final = ("none", "horizontal", "vertical", "both")

SECOND_ORDER: Final = Recipe(
    name="second-order",
    source="our own; bilinear pooling (Lin et al. 2015) beside means and maxima, all "
    "flips, logistic regression solved exactly on all photos, judged by five folds",
    expects="solar cells, 75/25 split, 3 seeds: accuracy 0.886 (0.881 to 0.892), log "
    "loss 0.284 (0.259 to 0.300); 1,968 photos in 10.5 minutes on 2 cores",
    head=Head(
        "second-order",
        taps=("block3_pool", "block4_pool", "block5_pool"),
        products="block4_pool",
    ),
    stages=(Stage("head", 4, 4, 1e-4, "exact", views=_ALL_FLIPS),),
    views=_ALL_FLIPS,
    folds=5,
)
"""The best on the demo's photos: `python -m benchmarks.solar --recipe second-order`, seeds
0, 1, 2, 2 cores: accuracy 0.886 (0.881 to 0.892), log loss 0.284 (0.259 to 0.300); the
published, finetuned VGG-19 reached 0.8842. docs/training.md lists what else was tried."""

LINEAR: Final = Recipe(
    name="linear",
    source="the course's first step, on pooled maps instead of dense layers",
    expects="solar cells: accuracy about 0.84, log loss about 0.36",
    head=Head("pooled", taps=("block5_pool",)),
)
"""Only a new last layer, on what block 5 sees: needs no dense weights."""

IMAGENET_LINEAR: Final = Recipe(
    name="imagenet-linear",
    source=f"{_LESSON2}: a linear model on the 1,000 ImageNet probabilities",
    expects="cats and dogs: accuracy 0.977, log loss 0.113 (their notebook)",
    head=Head("probabilities"),
    stages=(Stage("last", epochs=10, learning_rate=1e-2, optimizer="rmsprop"),),
    needs="dense",
    instead="linear",
)

LAST_LAYER: Final = Recipe(
    name="last-layer",
    source=f"{_LESSON2}: pop the last layer, freeze the rest, add a Dense",
    expects="cats and dogs: accuracy 0.981, log loss 0.073 (their notebook)",
    stages=(_LAST,),
    needs="dense",
    instead="linear",
)

DENSE: Final = Recipe(
    name="dense",
    source=f"{_LESSON3}: first the new layer, then all dense ones",
    expects="cats and dogs: accuracy 0.975 (their notebook, which trained the head only)",
    stages=(_LAST, Stage("head", 8, 3, 1e-5, "rmsprop")),
    needs="dense",
    instead="pooled",
)

NO_DROPOUT: Final = Recipe(
    name="no-dropout",
    source=f"{_LESSON3}: dropout off where a model underfits; weights stay as they are",
    expects="cats and dogs: accuracy 0.985 to 0.9875, log loss 0.226 (their notebook)",
    head=Head(dropout=0.0),
    stages=(_LAST, Stage("head", 8, 3, 1e-5, "rmsprop")),
    needs="dense",
    instead="pooled --dropout 0",
)

NORMALISED: Final = Recipe(
    name="batch-normalised",
    source=f"{_LESSON3}: batch normalisation in the dense layers, first as an identity",
    expects="cats and dogs: accuracy 0.986, log loss 0.049 to 0.062 (their notebook)",
    head=Head("normalised", dropout=0.6),
    stages=(_LAST, Stage("head", 8, 3, 1e-5, "adam")),
    needs="dense",
    instead="small-bn",
)

SMALL_BN: Final = Recipe(
    name="small-bn",
    source=f"{_STATE_FARM}: Dense 128 twice with batch normalisation, dropout 0.8",
    expects="State Farm by driver: accuracy 0.79 (their notebook)",
    head=Head("flat", hidden=(128, 128), dropout=0.8),
    stages=(Stage("head", 20, 5, 1e-3, "adam"),),
)

SMALL_BN_AUGMENTED: Final = Recipe(
    name="small-bn-augmented",
    source=f"{_STATE_FARM}: Dense 256 twice on five augmented passes and a clean one",
    expects="State Farm by driver: accuracy 0.82 (their notebook)",
    head=Head("flat", hidden=(256, 256), dropout=0.8),
    stages=(Stage("head", 20, 5, 1e-3, "adam", augmentation="statefarm", passes=5),),
)

CONV_BLOCK5: Final = Recipe(
    name="conv-block5",
    source=f"{_LESSON3}: late convolutions, after the new head",
    expects="not measured in full: on solar cells one trial was worse than a frozen base",
    head=POOLED.head,
    stages=(Stage("head"), Stage("conv:block5", 10, 4, 2e-4, schedule="cosine")),
)

CONV_BLOCK4: Final = Recipe(
    name="conv-block4",
    source=f"{_LESSON3}: for tasks unlike ImageNet with many photos",
    expects="not measured: it is for thousands of photos a class",
    head=POOLED.head,
    stages=(Stage("head"), Stage("conv:block4", 10, 4, 1e-4, schedule="cosine")),
)

EVERYTHING: Final = Recipe(
    name="everything",
    source="the slides' third principle: much data and a task of another kind",
    expects="not measured: it is for thousands of photos a class",
    head=POOLED.head,
    stages=(Stage("head"), Stage("all", 10, 4, 5e-5, schedule="cosine")),
    batch_size=32,
)

BACKBONE: Final = Recipe(
    name="backbone",
    source="Chilamkurthy, crash course part 2: transfer from ResNet; --network names "
    "any backbone of keras.applications",
    expects="400 ants and bees, ResNet-18: accuracy about 0.95 (their text)",
    network="resnet50",
    stages=(Stage("head", 30, 5, 1e-3, "adam"),),
)

LENET5: Final = Recipe(
    name="lenet5",
    source="LeCun et al. 1998, as on the slides: 61,706 parameters",
    expects="Fashion-MNIST test set: accuracy 0.904, log loss 0.267, in 94 s on 2 cores",
    network="lenet5",
    image_size=(28, 28),
    stages=(Stage("all", 10, 5, 2e-3, "adam", "cosine"),),
    needs="nothing",
    batch_size=128,
)

SCRATCH: Final = Recipe(
    name="scratch",
    source="fast.ai course 2016, MNIST notebook: VGG-style with batch normalisation",
    expects="Fashion-MNIST test set: accuracy 0.925, log loss 0.211",
    network="mnist-bn",
    image_size=(28, 28),
    stages=(Stage("all", 8, 5, 1e-3, "adam", "cosine"),),
    needs="nothing",
    batch_size=128,
)

SCRATCH_PHOTOS: Final = Recipe(
    name="scratch-photos",
    source=f"{_STATE_FARM}: three convolutions and two Dense 200, batch normalised",
    expects="State Farm by driver: accuracy 0.75 to 0.80, unstable (their notebook)",
    network="conv3",
    stages=(
        Stage("all", 2, 5, 1e-4, "adam", augmentation="statefarm"),
        Stage("all", 15, 5, 1e-3, "adam", augmentation="statefarm"),
    ),
    needs="nothing",
)

RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            POOLED,
            SECOND_ORDER,
            LINEAR,
            IMAGENET_LINEAR,
            LAST_LAYER,
            DENSE,
            NO_DROPOUT,
            NORMALISED,
            SMALL_BN,
            SMALL_BN_AUGMENTED,
            CONV_BLOCK5,
            CONV_BLOCK4,
            EVERYTHING,
            BACKBONE,
            LENET5,
            SCRATCH,
            SCRATCH_PHOTOS,
        )
    }
)


def find_recipe(name: str) -> Recipe:
    """The recipe called *name*.

    Raises:
        InvalidRequestError: there is none; it names those that there are.
    """
    if name not in RECIPES:
        known = ", ".join(sorted(RECIPES))
        raise InvalidRequestError(f"no recipe {name!r}: choose one of {known}")
    return RECIPES[name]
