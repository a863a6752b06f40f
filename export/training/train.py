"""From labelled photos to a trained, calibrated head: the steps in their order.

Validation features are always computed in float32, as they will be served, so that
evaluation and serving agree; training features may be computed in bfloat16, twice as
fast where the processor has it (relative error 0.6 %, the size of a small augmentation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from export.data.caches import PixelSource, cached_features, cached_pixels
from export.data.photos import Photo, Split, classes_of
from export.evaluation.calibration import calibrate
from export.evaluation.metrics import evaluate_logits
from export.progress import Progress
from export.training.recipes import Recipe
from export.training.runs import HEAD_FILE, SPLIT_FILE, VALIDATION_FILE, TrainedRun
from models.errors import DatasetError
from models.networks.features import POLICIES, build_features, compute_features
from models.networks.head import build_head
from models.networks.weights import PretrainedWeights, load_weights

BFLOAT16_FLAGS: Final = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class TrainingPlan:
    """What to train, from what, and where to put it.

    ``feature_precision`` is "float32", "bfloat16" or "auto" (bfloat16 where the
    processor is faster in it).
    """

    name: str
    split: Split
    recipe: Recipe
    folder: Path
    cache: Path
    weights: str = "auto"
    feature_precision: str = "auto"


def train(plan: TrainingPlan, progress: Progress) -> TrainedRun:
    """Train, calibrate and evaluate; the run is complete when this returns.

    Raises:
        DatasetError: photos or weights do not fit; the message names them.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    plan.split.write(plan.folder / SPLIT_FILE)
    weights = load_weights(plan.weights)
    keras.utils.set_random_seed(plan.split.seed)
    training_dtype = _feature_dtype(plan.feature_precision)
    parts = {
        "training": (plan.split.train, training_dtype),
        "validation": (plan.split.valid, "float32"),
    }
    features = {
        part: part_features(plan, (part, photos), weights, dtype, progress)
        for part, (photos, dtype) in parts.items()
    }
    labels = plan.split.labels
    targets = {part: classes_of(photos, labels) for part, (photos, _) in parts.items()}
    head, history = _fit_head(plan.recipe, features, targets, progress)
    return _finish(plan, weights, head, history, features, targets)


def part_features(
    plan: TrainingPlan,
    part: tuple[str, Sequence[Photo]],
    weights: PretrainedWeights | None,
    dtype: str,
    progress: Progress,
) -> NDArray[np.float32]:
    """Features [N, F] of a part (its name and photos), from the caches if there."""
    name, photos = part
    recipe = plan.recipe
    source = PixelSource(name, Path(plan.split.folder), photos, recipe.image_size)
    pixels = cached_pixels(source, plan.cache, progress)
    origin = weights.sha256 if weights else f"random, seed {plan.split.seed}"
    key = [source.key(), "vgg16", recipe.taps, origin, dtype, keras.__version__]
    keras.utils.set_random_seed(plan.split.seed)
    network = build_features(recipe.taps, recipe.image_size, weights, dtype)
    return cached_features(
        pixels,
        key,
        plan.cache,
        partial(compute_features, network),
        partial(progress, f"{name} features"),
    )


def _fit_head(
    recipe: Recipe,
    features: dict[str, NDArray[np.float32]],
    targets: dict[str, NDArray[np.int64]],
    progress: Progress,
) -> tuple[Any, dict[str, list[float]]]:
    classes = int(targets["training"].max()) + 1
    width = features["training"].shape[1]
    head = build_head(width, classes, recipe.hidden, recipe.dropout)
    head.compile(
        keras.optimizers.AdamW(recipe.learning_rate, weight_decay=recipe.weight_decay),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        ),
        metrics=["accuracy"],
    )
    one_hot = {
        part: keras.utils.to_categorical(each, classes)
        for part, each in targets.items()
    }
    before = head.get_weights()
    history = head.fit(
        np.asarray(features["training"]),
        one_hot["training"],
        validation_data=(np.asarray(features["validation"]), one_hot["validation"]),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        verbose=0,
        callbacks=[_early_stopping(recipe), _bar(recipe, progress)],
    )
    _check_all_moved(before, head)
    return head, {
        key: [float(x) for x in each] for key, each in history.history.items()
    }


def _early_stopping(recipe: Recipe) -> Any:
    # On loss, not accuracy: overconfidence grows while accuracy stays flat.
    return keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=recipe.patience, restore_best_weights=True
    )


def _bar(recipe: Recipe, progress: Progress) -> Any:
    def epoch_done(epoch: int, _logs: object) -> None:
        progress("train the head", epoch + 1, recipe.epochs)

    def training_done(_logs: object) -> None:
        progress("train the head", recipe.epochs, recipe.epochs)

    return keras.callbacks.LambdaCallback(
        on_epoch_end=epoch_done, on_train_end=training_done
    )


def _check_all_moved(before: Sequence[NDArray[Any]], head: Any) -> None:
    unmoved = [
        variable.path
        for variable, old, new in zip(
            head.weights, before, head.get_weights(), strict=True
        )
        if variable.trainable and np.array_equal(old, new)
    ]
    if unmoved:
        raise DatasetError(f"training moved no weight of {', '.join(unmoved)}")


def _finish(
    plan: TrainingPlan,
    weights: PretrainedWeights | None,
    head: Any,
    history: dict[str, list[float]],
    features: dict[str, NDArray[np.float32]],
    targets: dict[str, NDArray[np.int64]],
) -> TrainedRun:
    head.save(plan.folder / HEAD_FILE)
    logits = np.asarray(head.predict(np.asarray(features["validation"]), verbose=0))
    classes = targets["validation"]
    np.savez(plan.folder / VALIDATION_FILE, logits=logits, classes=classes)
    calibration = calibrate(logits, classes)
    provenance = weights.provenance() if weights else _random_weights(plan.split.seed)
    run = TrainedRun(
        folder=plan.folder,
        name=plan.name,
        recipe=plan.recipe,
        weights=provenance,
        weights_choice=plan.weights,
        calibration=calibration,
        metrics=evaluate_logits(logits, classes, calibration),
        history=history,
    )
    run.write()
    return run


def _random_weights(seed: int) -> dict[str, str]:
    note = f"random initial weights, seed {seed}: nothing was learnt before"
    return {"source": "none", "sha256": "", "note": note}


def _feature_dtype(precision: str) -> str:
    if precision == "auto":
        cpu = Path("/proc/cpuinfo")
        flags = cpu.read_text(encoding="utf-8") if cpu.exists() else ""
        fast = any(flag in flags for flag in BFLOAT16_FLAGS)
        precision = "bfloat16" if fast else "float32"
    return POLICIES[precision]
