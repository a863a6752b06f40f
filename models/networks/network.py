"""What the registry knows of one network, and how its parts fit together.

A network is a base (pixels -> maps) and its own top (maps -> logits). Recipes may put
another head on the base. Layers keep stable names: recipes, weight files and checks of
what was trained go by them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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
