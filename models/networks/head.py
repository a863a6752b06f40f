"""What a recipe puts on a network's base, as data; `heads` builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

TOP: Final = "top"
NORMALISED: Final = "normalised"
POOLED: Final = "pooled"
FLAT: Final = "flat"
SECOND_ORDER: Final = "second-order"
PROBABILITIES: Final = "probabilities"

USES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        TOP: frozenset({"dropout"}),
        NORMALISED: frozenset({"dropout"}),
        POOLED: frozenset({"dropout", "hidden"}),
        FLAT: frozenset({"dropout", "hidden"}),
        SECOND_ORDER: frozenset(),
        PROBABILITIES: frozenset(),
    }
)
"""Which of `dropout` and `hidden` change what a head of each kind trains."""


@dataclass(frozen=True)
class Head:
    """Which layers follow the base.

    Attributes:
        kind: "top": the network's own; "normalised": VGG16's own with batch
            normalisation after fc1 and fc2; "pooled": mean and maximum over space of the
            taps' maps, then batch normalisation, dropout and Dense; "flat": flattened
            maps, then dropout, Dense and batch normalisation; "second-order": taps
            pooled as above and one of them by products of channels, standardised, then
            one Dense; "probabilities": one Dense
            on the 1,000 ImageNet probabilities of the network's own top.
        taps: names of the base's layers that "pooled" pools.
        products: the layer whose channels "second-order" multiplies, projected to
            ``channels`` before.
        hidden: units of the Dense layers before the logits, for "pooled" and "flat".
        dropout: rate before the logits; None: the network's own.
    """

    kind: str = TOP
    taps: tuple[str, ...] = ()
    products: str = ""
    channels: int = 128
    hidden: tuple[int, ...] = ()
    dropout: float | None = None
