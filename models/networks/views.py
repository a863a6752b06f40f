"""Views of one photo whose probabilities are averaged: test-time augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from models.errors import InvalidRequestError

VIEWS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"none": (1, 1), "horizontal": (1, -1), "vertical": (-1, 1), "both": (-1, -1)}
)
"""Steps along rows and columns: -1 turns the photo around."""

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
