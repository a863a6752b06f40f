"""How long a published version takes for a batch on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf

from models.card import ModelCard
from models.contract import CARD_FILE, IMAGES_INPUT, SERVING_SIGNATURE

_CALLS: Final = 3


def batch_seconds(folder: Path, sizes: Sequence[int]) -> dict[int, float]:
    """Seconds of a batch of each of *sizes* with the SavedModel in *folder*.

    The median of three calls after one that is not counted, with all cores.

    Raises:
        OSError, ValueError, tf.errors.OpError: it cannot be loaded.
        ModelContractError: its card cannot be read.
    """
    card = ModelCard.from_json((folder / CARD_FILE).read_bytes())
    signature = tf.saved_model.load(str(folder)).signatures[SERVING_SIGNATURE]

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
