"""What to try when a training run went wrong, the most promising first.

The order for overfitting is the fast.ai course's (2016), lesson 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["collapsed", "underfit", "overfit", "overconfident"]
"""A collapsed model calls few of its labels; an overconfident one claims too much."""

CURES: Final[Mapping[Kind, tuple[str, ...]]] = MappingProxyType(
    {
        "collapsed": (
            "a smaller learning rate: --learning-rate, a tenth of it",
            "look at the photos of the labels that are never called: kennel report",
            "as many photos of each class as of the others",
        ),
        "underfit": (
            "less dropout: --dropout 0.2, or 0",
            "weaker or no augmentation: --augmentation none",
            "train longer: --epochs, --patience",
            "a larger learning rate: --learning-rate, three times it",
            "train more layers: --recipe conv-block5",
        ),
        "overfit": (
            "more photos",
            "augmentation: --augmentation photos (kennel report shows what it does)",
            "an architecture that generalises, with batch normalisation: --recipe pooled",
            "regularisation: a higher --dropout",
            "a smaller model: fewer --hidden units, or --recipe linear",
        ),
        "overconfident": (
            "nothing, for the served model: its temperature corrects this",
            "fewer --epochs: overconfidence grows while accuracy stays",
            "a higher --dropout, or --label-smoothing 0.05",
            "several models averaged: --members 5",
        ),
    }
)
"""Each names the option of ``kennel train`` that it is."""
