"""Baselines: the bare SavedModel in this process, and a photo's cost without a server.

`python -m benchmarks.harness.baselines`: milliseconds of one core that Pillow's decode
and resize, and a mean, take for a photo.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.photos import camera_jpeg
from benchmarks.peers.work import decode
from models.contract import CARD_FILE, IMAGES_INPUT, SERVING_SIGNATURE, ModelCard
from models.networks.runtime import start_tensorflow
from models.wire.config import published_models, published_versions


class BareModel:
    """A published SavedModel without a server."""

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


MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4194304", "MALLOC_TRIM_THRESHOLD_": "16777216"}
"""As in `service.main`: with glibc's defaults, page faults double the cost."""

_SECONDS = 2.0


def floor_milliseconds() -> float:
    """Processor time of one photo, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.harness.baselines"]
    environment = {**os.environ, **MALLOC}
    return float(subprocess.check_output(command, env=environment, text=True))


def _measure() -> float:
    image = camera_jpeg(1)
    count, began = 0, time.process_time()
    while time.process_time() < began + _SECONDS:
        decode(image).mean()
        count += 1
    return 1000 * (time.process_time() - began) / count


if __name__ == "__main__":
    print(_measure())
