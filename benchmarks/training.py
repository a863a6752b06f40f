"""Training on cached features, against the same epoch through the convolutional base.

    python -m benchmarks.training [--photos 192] [--rows 25000]

Prints feature extraction (decoding included) as a share of the bare forward pass, an
epoch of the head on cached features against one through VGG16, and how much memory the
features of many photos add.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.photos import write_folder
from models.contract import MAX_BATCH_SIZE
from models.networks.runtime import start_tensorflow

if TYPE_CHECKING:
    from export.training.examples import Examples
    from export.training.members import MemberTraining
    from export.training.plans import TrainingPlan

FLAT_MAPS = (7, 7, 512)
"""The feature maps of a photo before VGG16's dense head."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=192)
    parser.add_argument("--rows", type=int, default=25_000)
    options = parser.parse_args()
    start_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        measure_epochs(Path(folder), options.photos)
        measure_memory(Path(folder), options.rows)


def measure_epochs(folder: Path, photos: int) -> None:
    from export.progress import silent
    from export.training.examples import (
        FeatureExamples,
        FrozenPart,
        PixelExamples,
        flipped,
    )
    from models.networks.freezing import cut, freeze_all_but, trained_layers

    plan = _plan(folder, photos)
    _forget_peak()
    began = time.perf_counter()
    training = _training(plan)
    decoding = time.perf_counter() - began
    network = training.network("float32")
    trained = trained_layers(network, "head")
    freeze_all_but(network.model, trained)
    parts = cut(network.model, trained)
    pixels = training.train.photos.pixels.rows(np.arange(MAX_BATCH_SIZE)).astype(
        np.float32
    )
    bare = _seconds(lambda: parts.frozen.predict_on_batch(pixels)) / MAX_BATCH_SIZE
    frozen = FrozenPart(parts.frozen, "float16", folder / "cache", silent)
    began = time.perf_counter()
    features = frozen.features(training.train.photos, flipped("none"))
    extraction = (decoding + time.perf_counter() - began) / photos
    print(
        f"feature extraction: {1 / extraction:.2f} images/s with decoding, "
        f"{bare / extraction:.3f} of the bare forward pass ({1 / bare:.2f}); "
        f"peak memory {_peak_megabytes():,.0f} MB"
    )
    cached = FeatureExamples(training.train, [features])
    fresh = PixelExamples(training.train, lambda _epoch: flipped("none"))
    short = _epoch_seconds(parts.trained, cached)
    long = _epoch_seconds(network.model, fresh)
    print(
        f"an epoch of {photos} photos: {short:.2f} s on cached features, {long:.2f} s "
        f"through VGG16: {long / short:.0f} times faster"
    )


def measure_memory(folder: Path, rows: int) -> None:
    from export.data.cache import FeatureSource, cached_features, stored_array
    from export.progress import silent

    _forget_peak()
    before = _peak_megabytes()
    image = np.zeros((MAX_BATCH_SIZE, 224, 224, 3), np.uint8)
    maps = np.zeros((MAX_BATCH_SIZE, *FLAT_MAPS), np.float32)
    pixels = stored_array(
        folder / "pixels.npy",
        (rows, 224, 224, 3),
        "uint8",
        lambda start: (
            (first, image[: rows - first])
            for first in range(start, rows, MAX_BATCH_SIZE)
        ),
    )
    source = FeatureSource(
        "maps",
        ["zeros"],
        [FLAT_MAPS],
        "float16",
        lambda _row, batch: [maps[: len(batch)]],
    )
    features = cached_features(pixels, source, folder, silent)
    order = np.random.default_rng(0).permutation(rows)
    for first in range(0, rows, 64):
        features.rows(order[first : first + 64])
    print(
        f"decoding, extracting and shuffling {rows:,} photos' maps adds "
        f"{_peak_megabytes() - before:,.0f} MB"
    )


def _plan(folder: Path, photos: int) -> TrainingPlan:
    from export.data.splits import Split, list_photos
    from export.recipes.catalogue import POOLED
    from export.training.plans import TrainingPlan

    data = folder / "photos"
    for label in ("cat", "dog"):
        write_folder(data / label, photos // 2)
    listed = tuple(list_photos(data))
    split = Split(str(data), ("cat", "dog"), 1, "none", listed, listed)
    cache = folder / "cache"
    return TrainingPlan("bench", split, POOLED, folder / "run", cache, seed=1)


def _training(plan: TrainingPlan) -> MemberTraining:
    from export.progress import silent
    from export.training.examples import prepare_photos
    from export.training.members import MemberTraining

    photos = prepare_photos("training", plan.split.train, plan, silent)
    return MemberTraining(plan, 1, photos.whole(), photos.whole(), silent)


def _epoch_seconds(model: Any, examples: Examples) -> float:
    import keras

    from export.training.examples import batches

    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("adamw", loss, jit_compile=False)
    order = np.arange(len(examples.targets))

    def epoch() -> None:
        for inputs, targets in batches(examples, order, 64, epoch=1):
            model.train_on_batch(inputs[0], targets)

    return _seconds(epoch)


def _seconds(action: Callable[[], object]) -> float:
    action()
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _forget_peak() -> None:
    # Linux: 5 resets the peak of the resident memory (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


if __name__ == "__main__":
    main()
