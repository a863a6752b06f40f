"""How a model is trained, as data: which network, which head, which stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from models.networks.network import Head

EXACT: Final = "exact"
"""The optimizer of stages that are solved instead of trained by gradients."""


@dataclass(frozen=True)
class Stage:
    """One round of training.

    Attributes:
        trains: "last", "head", "conv:<layer>" or "all"; see models/networks/freezing.py.
        epochs: at most; training stops early on validation loss.
        patience: epochs without a better validation loss before it stops.
        optimizer: a Keras optimizer's name, such as "adamw", "adam", "rmsprop", "sgd";
            or "exact" for second-order heads, whose learning rate is the strength of
            regularisation, halved in each epoch.
        schedule: of the learning rate over the epochs: "constant", or "cosine" to zero.
        views: flips of every photo to learn from, where features are cached.
        augmentation: a name or text that `parse_augmentation` reads.
        passes: augmented copies of every photo whose frozen features are computed once,
            besides a clean one. 0: photos are augmented anew in every epoch, which
            costs a pass through the whole network.
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
    """How one model is made.

    Attributes:
        source: where the method is described.
        expects: figures measured with it: on what, mean and range.
        needs: "base" for pretrained convolutions, "dense" for ImageNet's dense layers
            too, "nothing" when it starts from random weights.
        instead: the recipe to name when its weights are not to be had.
        views: flips of a photo whose probabilities are averaged, at validation and in
            the exported model: of "none", "horizontal", "vertical", "both".
        members: models trained from different seeds and averaged into one.
        folds: parts of all photos; for each a model is trained without it and judged on
            it. Then the members are trained on all photos, as long as was best for those.
            0: no folds, but validation photos that no member learns from.
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
        """What model *number* of a run is called; "" where there is only one.

        The members are numbered from 1, the models that hold out a fold after them.
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
