"""A network that waits instead of computing: its times are known, whatever else runs.

So a forecast can be checked on a machine that others use too, with the real server and its
batching kernel.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.trivial import CARD
from models.networks.runtime import start_tensorflow

BATCH_MS: Final = 20
IMAGE_MS: Final = 30
"""As a network of 15 GFLOP on 2 cores: slower than the API's limit for gathering."""

TIMED: Final = replace(CARD, name="timed", network="waits")


def publish_timed_model(models_dir: Path) -> str:
    """Write the SavedModel below *models_dir*; its name."""
    start_tensorflow()
    import keras

    from export.publication.savedmodel import write_savedmodel
    from export.training.classifier import single

    class Wait(keras.layers.Layer):  # type: ignore[misc] # untyped
        def call(self, pixels: Any) -> Any:
            return pixels + _after_waiting(pixels)

    pixels = keras.Input((*TIMED.image_size, 3))
    mean = keras.layers.GlobalAveragePooling2D()(Wait()(pixels))
    classifier = keras.Model(pixels, keras.layers.Dense(2)(mean))
    folder = models_dir / TIMED.name
    folder.mkdir(parents=True)
    write_savedmodel(single(classifier), TIMED, folder / str(TIMED.version))
    return TIMED.name


def _after_waiting(pixels: Any) -> Any:
    """Zero, as late as a network would have its answer."""
    import tensorflow as tf
    from tensorflow.python.data.experimental.ops import testing

    images = tf.cast(tf.shape(pixels)[0], tf.int64)
    # It waits twice: for its element, and for the end.
    micros = 500 * (BATCH_MS + images * IMAGE_MS)
    one = tf.data.Dataset.from_tensors(0.0).apply(testing.sleep(micros))
    return one.reduce(0.0, lambda total, each: total + each)
