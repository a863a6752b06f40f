"""How long a published version takes for a batch on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from models.card import ModelCard
from models.contract import CARD_FILE, IMAGES_INPUT, SERVING_SIGNATURE
from models.errors import ModelContractError

_CALLS: Final = 3


def batch_seconds(folder: Path, sizes: Sequence[int]) -> dict[int, float]:
    """Seconds of a batch of each of *sizes* with the SavedModel in *folder*.

    The median of three calls after one that is not counted, with all cores.

    Raises:
        ModelContractError: it cannot be loaded, or its card cannot be read.
        OSError: there is no card.
    """
    card = ModelCard.from_json((folder / CARD_FILE).read_bytes())
    signature = _load(folder)

    def call(pixels: np.ndarray) -> float:
        began = time.perf_counter()
        for output in signature(**{IMAGES_INPUT: tf.constant(pixels)}).values():
            output.numpy()
        return time.perf_counter() - began

    generator = np.random.default_rng(0)
    seconds = {}
    for size in sizes:
        shape = (size, *card.image_size, 3)
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        call(pixels)
        seconds[size] = statistics.median(call(pixels) for _ in range(_CALLS))
    return seconds


def _load(folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder)).signatures[SERVING_SIGNATURE]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        message = (
            f"{folder} cannot be measured, it is not a SavedModel of ours: {error}"
        )
        raise ModelContractError(message) from error
