"""Networks as data: an entry of the registry, the head that a recipe puts on it, its views.

A network is a base (pixels -> maps) and its own top (maps -> logits). Recipes may put
another head on the base. Layers keep stable names: recipes, weight files and checks of
what was trained go by them. Imports no Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from models.errors import InvalidRequestError


@dataclass(frozen=True)
class Network:
    """One entry of the registry.

    Attributes:
        name: what ``--network`` and the model card call it.
        source: where it is described.
        image_size: (height, width) that it was designed for.
        build_base: (image size, Keras dtype policy) -> flat functional Keras model from
            float32 RGB pixels 0..255 [N, H, W, 3] to maps; preprocessing is inside.
        add_top: (maps, classes, dropout rate or None for the network's own) -> logits
            [N, K], float32, from a Dense layer called "logits".
        smallest_image: least height and width that the base accepts.
    """

    name: str
    source: str
    image_size: tuple[int, int]
    build_base: Callable[[tuple[int, int], str], Any]
    add_top: Callable[[Any, int, float | None], Any]
    smallest_image: int = 32


TOP_HEAD: Final = "top"
NORMALISED_HEAD: Final = "normalised"
POOLED_HEAD: Final = "pooled"
FLAT_HEAD: Final = "flat"
SECOND_ORDER_HEAD: Final = "second-order"
PROBABILITIES_HEAD: Final = "probabilities"

OPTIONS_BY_HEAD: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        TOP_HEAD: frozenset({"dropout"}),
        NORMALISED_HEAD: frozenset({"dropout"}),
        POOLED_HEAD: frozenset({"dropout", "hidden"}),
        FLAT_HEAD: frozenset({"dropout", "hidden"}),
        SECOND_ORDER_HEAD: frozenset(),
        PROBABILITIES_HEAD: frozenset(),
    }
)
"""Which of the options `dropout` and `hidden` a head of each kind uses."""


@dataclass(frozen=True)
class Head:
    """The layers that follow the base; `models.networks.heads` builds them.

    Attributes:
        kind: "top": the network's own; "normalised": VGG16's own with batch
            normalisation after fc1 and fc2; "pooled": mean and maximum over space of the
            taps' maps, then batch normalisation, dropout and Dense; "flat": flattened
            maps, then dropout, Dense and batch normalisation; "second-order": taps
            pooled as above and one of them by products of channels, standardised, then
            one Dense; "probabilities": one Dense on the 1,000 ImageNet probabilities of
            the network's own top.
        taps: names of the base's layers that "pooled" pools.
        products: the layer whose channels "second-order" multiplies, projected to
            ``channels`` before.
        hidden: units of the Dense layers before the logits, for "pooled" and "flat".
        dropout: rate before the logits; None: the network's own.
    """

    kind: str = TOP_HEAD
    taps: tuple[str, ...] = ()
    products: str = ""
    channels: int = 128
    hidden: tuple[int, ...] = ()
    dropout: float | None = None


VIEWS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"none": (1, 1), "horizontal": (1, -1), "vertical": (-1, 1), "both": (-1, -1)}
)
"""Views of a photo whose probabilities are averaged (test-time augmentation): steps along
rows and columns, where -1 flips."""

_Batch = TypeVar("_Batch", bound=Any)


def flip(batch: _Batch, view: str) -> _Batch:
    """*batch* [N, H, W, C], an array or a tensor, as *view* names it.

    Raises:
        InvalidRequestError: no such view.
    """
    if view not in VIEWS:
        message = f"no view {view!r}: choose of {', '.join(VIEWS)}"
        raise InvalidRequestError(message)
    down, right = VIEWS[view]
    flipped: _Batch = batch[:, ::down, ::right]
    return flipped
