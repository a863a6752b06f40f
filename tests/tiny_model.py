"""Real SavedModels, made in a fraction of a second: "network" is mean brightness."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from models.contract import ModelCard
from models.networks.runtime import start_tensorflow
from tests.fake_model_server import CARD


def build_brightness_classifier(card: ModelCard) -> Any:
    """Pixels -> two logits: P(last label) grows with the mean of the pixels.

    Its maps are means of 8 x 8 pixels: the heat for the last label is brightness.
    """
    start_tensorflow()
    import keras
    import numpy as np

    pixels = keras.Input((*card.image_size, 3))
    maps = keras.layers.AveragePooling2D(8)(pixels)
    mean = keras.layers.GlobalAveragePooling2D()(maps)
    logits = keras.layers.Dense(2)
    model = keras.Model(pixels, logits(mean))
    logits.set_weights(
        [np.array([[0.0, 0.01]] * 3, np.float32), np.array([0.0, -3.8], np.float32)]
    )
    return model


def build_one_size_classifier(card: ModelCard) -> Any:
    """The same from one weight a pixel: it takes no other size, and explains nothing."""
    start_tensorflow()
    import keras
    import numpy as np

    pixels = keras.Input((*card.image_size, 3))
    flat = keras.layers.Flatten()(pixels)
    logits = keras.layers.Dense(2)
    model = keras.Model(pixels, logits(flat))
    weights = np.zeros((flat.shape[1], 2), np.float32)
    weights[:, 1] = 0.03 / len(weights)
    logits.set_weights([weights, np.array([0.0, -3.8], np.float32)])
    return model


def publish_tiny_model(
    models_dir: Path,
    version: int,
    card: ModelCard = CARD,
    build: Callable[[ModelCard], Any] = build_brightness_classifier,
) -> ModelCard:
    """Put a version of the brightness model below *models_dir*, in one rename.

    Versions differ by temperature, so that their answers tell them apart.
    """
    written, card = _write(version, card.to_json(), build)
    base = models_dir / card.name
    base.mkdir(parents=True, exist_ok=True)
    unfinished = base / f".tmp-{version}"
    shutil.copytree(written, unfinished)
    unfinished.rename(base / str(version))
    return card


@cache
def _write(
    version: int, card_json: str, build: Callable[[ModelCard], Any]
) -> tuple[Path, ModelCard]:
    """The SavedModel of a version, written once a process: that takes a second."""
    card = ModelCard.from_json(card_json)
    classifier = build(card)
    from export.publication.savedmodel import write_savedmodel
    from export.training.classifier import single

    card = replace(card, version=version, temperature=float(version))
    folder = Path(tempfile.mkdtemp(prefix="tiny-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "saved", write_savedmodel(
        single(classifier), card, folder / "saved"
    )
