"""A trained run put together again: pixels -> logits, in Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from export.training.runs import TrainedRun
from models.images import Pixels
from models.networks.features import build_features
from models.networks.weights import load_weights


def build_classifier(run: TrainedRun, dtype: str = "float32") -> Any:
    """The whole network of *run*: pixels 0..255 [N, H, W, 3] -> logits [N, K].

    Raises:
        DatasetError: the pretrained weights cannot be had any more.
    """
    weights = load_weights(run.weights_choice)
    # The same seed gives the same random base when there are no pretrained weights.
    keras.utils.set_random_seed(run.split.seed)
    features = build_features(run.recipe.taps, run.recipe.image_size, weights, dtype)
    head = keras.models.load_model(run.head_path, compile=False)
    return keras.Model(features.input, head(features.output), name="classifier")


def classify(classifier: Any, batch: Pixels) -> NDArray[np.float32]:
    """Logits [N, K] of a *batch*, uint8 [N, H, W, 3]."""
    pixels = batch.astype(np.float32)
    return np.asarray(classifier.predict_on_batch(pixels), dtype=np.float32)
