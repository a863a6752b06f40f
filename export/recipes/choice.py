"""``--recipe auto``: how deep to train, by the three principles of the lecture slides.

More similar to what the network knows: train less. More data: train deeper. Too
different: pretrained weights are worth little. Similarity is measured: how well the
nearest class mean of the frozen features tells the labels of photos held out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from export.data.split import Split

SIMILAR: Final = 0.6
DIFFERENT: Final = 0.1
"""Shares of the way from guessing to always right."""

FEW: Final = 50
MANY: Final = 1000
VERY_MANY: Final = 5000
"""Training photos in the smallest class."""


@dataclass(frozen=True)
class RecipeChoice:
    """The recipe's name, and the sentence that says why."""

    recipe: str
    reason: str


def choose_recipe(photos: int, similarity: float | None) -> RecipeChoice:
    """The recipe for so many *photos* in the smallest class.

    *similarity*: 0 when frozen features tell no more than guessing, 1 when they tell
    everything; None when there are no pretrained weights.
    """
    if similarity is None:
        return RecipeChoice("scratch-photos", "there are no pretrained weights")
    share = f"frozen features go {similarity:.0%} of the way from guessing to right"
    data = f"{share}, the smallest class has {photos} training photos"
    if similarity < DIFFERENT and photos >= VERY_MANY:
        return RecipeChoice(
            "everything",
            f"{data}: too different for frozen layers, enough to train all",
        )
    if photos < FEW:
        return RecipeChoice("linear", f"{data}: too few for more than a last layer")
    if similarity >= SIMILAR or photos < MANY:
        return RecipeChoice("pooled", f"{data}: a new head on frozen layers suits")
    if photos < VERY_MANY:
        return RecipeChoice("conv-block5", f"{data}: enough to train late convolutions")
    return RecipeChoice("conv-block4", f"{data}: much data, a task of its own")


def smallest_class(split: Split) -> int:
    """Training photos in the class that has fewest."""
    return min(Counter(photo.label for photo in split.train).values())
