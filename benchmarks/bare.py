"""The baseline: the published SavedModel called in this process, pixels ready."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from models.card import ModelCard
from models.contract import CARD_FILE, IMAGES_INPUT, SERVING_SIGNATURE
from models.networks.runtime import start_tensorflow
from models.wire.config import published_models, published_versions


class BareModel:
    """A SavedModel and nothing around it."""

    def __init__(self, models_dir: Path, name: str | None = None) -> None:
        """Load the newest version of *name*, or of the first model there is."""
        start_tensorflow()
        import tensorflow as tf

        names = published_models(models_dir)
        if not names:
            raise SystemExit(f"no models in {models_dir}: run `make demo` first")
        self.name = name or names[0]
        versions = models_dir / self.name
        self.folder = versions / str(published_versions(versions)[0])
        self.card = ModelCard.from_json((self.folder / CARD_FILE).read_bytes())
        self._constant = tf.constant
        self._model = tf.saved_model.load(str(self.folder))
        self._signature = self._model.signatures[SERVING_SIGNATURE]

    def pixels(self, count: int) -> Any:
        size = (count, *self.card.image_size, 3)
        return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)

    def call(self, batch: Any) -> None:
        outputs = self._signature(**{IMAGES_INPUT: self._constant(batch)})
        for each in outputs.values():
            each.numpy()

    def images_per_second(self, batch_size: int, batches: int = 4) -> float:
        batch = self.pixels(batch_size)
        self.call(batch)
        began = time.perf_counter()
        for _ in range(batches):
            self.call(batch)
        return batches * batch_size / (time.perf_counter() - began)

    def median_seconds(self, calls: int = 15) -> float:
        batch = self.pixels(1)
        self.call(batch)
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            self.call(batch)
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)
