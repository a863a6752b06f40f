"""Recipes as data: network, head and stages of each model that Kennel can train.

Figures in ``expects`` that are not our own name their source. The fast.ai notebooks
trained on 23,000 cats and dogs from ImageNet's VGG16 with its dense layers, which are
not on every machine; recipes that need them name another to use instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from models.errors import InvalidRequestError
from models.networks.network import Head

if TYPE_CHECKING:
    from export.data.splits import Split

EXACT: Final = "exact"
"""The optimizer of stages that are solved exactly, not trained by gradients."""


@dataclass(frozen=True)
class Stage:
    """One round of training.

    Attributes:
        trains: "last", "head", "conv:<layer>" or "all"; see models/networks/freezing.py.
        epochs: the most epochs; training stops early on validation loss.
        patience: epochs without a better validation loss before it stops.
        optimizer: a Keras optimizer's name, such as "adamw", "adam", "rmsprop", "sgd";
            or "exact" for second-order heads, whose learning rate is the strength of
            regularisation, halved in each epoch.
        schedule: of the learning rate over the epochs: "constant", or "cosine" to zero.
        views: flips of each photo to learn from, if features are cached.
        augmentation: a name or text that `parse_augmentation` reads.
        passes: augmented copies of each photo, besides a clean one, whose frozen features
            are computed once. 0: photos are augmented anew in each epoch, which costs a
            pass through the whole network.
        enough_accuracy: validation accuracy at which the stage ends.
        keep: "best" weights by validation loss, or those of the "last" epoch.
    """

    trains: str = "head"
    epochs: int = 60
    patience: int = 8
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    schedule: str = "constant"
    views: tuple[str, ...] = ("none",)
    augmentation: str = "none"
    passes: int = 0
    enough_accuracy: float | None = None
    keep: str = "best"


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    Attributes:
        source: where the method is described.
        expects: figures measured with it: on what, mean and range.
        needs: "base" for pretrained convolutions, "dense" for ImageNet's dense layers
            too, "nothing" for random weights.
        instead: the recipe to use if its weights are not available.
        views: flips of a photo whose probabilities are averaged, at validation and in
            the exported model: of "none", "horizontal", "vertical", "both".
        members: models trained from different seeds and averaged into one.
        folds: parts of all photos for cross-validation. The members are then trained on
            all photos, for as many epochs as were best in the folds. 0: validation
            photos that no member learns from.
    """

    name: str
    source: str
    expects: str = ""
    network: str = "vgg16"
    image_size: tuple[int, int] = (224, 224)
    head: Head = field(default_factory=Head)
    stages: tuple[Stage, ...] = (Stage(),)
    needs: str = "base"
    instead: str = ""
    batch_size: int = 64
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    views: tuple[str, ...] = ("none",)
    members: int = 1
    folds: int = 0

    def model_name(self, number: int) -> str:
        """The name of model *number* of a run; "" if it is the only one.

        The members are numbered from 1; the models that hold out a fold follow.
        """
        if number > self.members:
            return f"fold {number - self.members} of {self.folds}"
        name = f"member {number} of {self.members}" if self.members > 1 else ""
        if not self.folds:
            return name
        return f"{name}, all photos" if name else "all photos"

    @property
    def command(self) -> str:
        """The command that trains it."""
        return f"kennel train DATA --name NAME --recipe {self.name}"


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
"""The best recipe for the demo's photos (`python -m benchmarks.solar --recipe
second-order`); the published, finetuned VGG-19 reached accuracy 0.8842. docs/training.md
lists what else was tried."""

LINEAR: Final = Recipe(
    name="linear",
    source="the course's first step, on pooled maps instead of dense layers",
    expects="solar cells: accuracy about 0.84, log loss about 0.36",
    head=Head("pooled", taps=("block5_pool",)),
)
"""Only a new last layer, on the features of block 5: needs no dense weights."""

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
        InvalidRequestError: there is none; the message lists the names.
    """
    if name not in RECIPES:
        known = ", ".join(sorted(RECIPES))
        raise InvalidRequestError(f"no recipe {name!r}: choose one of {known}")
    return RECIPES[name]


SIMILAR: Final = 0.6
DIFFERENT: Final = 0.1
"""Similarity from which features count as similar, and below which as different."""

FEW_PHOTOS: Final = 50
MANY_PHOTOS: Final = 1000
VERY_MANY_PHOTOS: Final = 5000
"""Training photos in the smallest class."""


@dataclass(frozen=True)
class RecipeChoice:
    """The recipe's name, and the sentence that says why."""

    recipe: str
    reason: str


def choose_recipe(photos: int, similarity: float | None) -> RecipeChoice:
    """The recipe of ``--recipe auto`` for *photos* in the smallest class.

    By the three principles of the lecture slides: train less on photos similar to those
    that the network knows; train deeper on more photos; on very different photos
    pretrained weights help little. *similarity* is how well the nearest class mean of
    frozen features predicts the labels: 0 like guessing, 1 perfectly; None without
    pretrained weights.
    """
    if similarity is None:
        return RecipeChoice("scratch-photos", "there are no pretrained weights")
    share = f"frozen features go {similarity:.0%} of the way from guessing to right"
    data = f"{share}, the smallest class has {photos} training photos"
    if similarity < DIFFERENT and photos >= VERY_MANY_PHOTOS:
        return RecipeChoice(
            "everything",
            f"{data}: too different for frozen layers, enough to train all",
        )
    if photos < FEW_PHOTOS:
        return RecipeChoice("linear", f"{data}: too few for more than a last layer")
    if similarity >= SIMILAR or photos < MANY_PHOTOS:
        return RecipeChoice("pooled", f"{data}: a new head on frozen layers suits")
    if photos < VERY_MANY_PHOTOS:
        return RecipeChoice("conv-block5", f"{data}: enough to train late convolutions")
    return RecipeChoice("conv-block4", f"{data}: much data, a task of its own")


def smallest_class(split: Split) -> int:
    """Number of training photos in the smallest class."""
    return min(Counter(photo.label for photo in split.train).values())
