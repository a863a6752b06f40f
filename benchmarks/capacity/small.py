"""A small convolutional network: some ten milliseconds an image, no weights to fetch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.trivial import CARD
from models.networks.runtime import start_tensorflow

SMALL = replace(CARD, name="small", network="four convolutions")


def publish_small_model(models_dir: Path, filters: int = 64) -> str:
    """Write the SavedModel below *models_dir*; its name."""
    start_tensorflow()
    import keras

    from export.publication.savedmodel import write_savedmodel
    from export.training.classifier import single

    pixels = keras.Input((*SMALL.image_size, 3))
    maps = pixels
    for _ in range(4):
        maps = keras.layers.Conv2D(filters, 3, activation="relu")(maps)
    mean = keras.layers.GlobalAveragePooling2D()(maps)
    classifier = keras.Model(pixels, keras.layers.Dense(2)(mean))
    folder = models_dir / SMALL.name
    folder.mkdir(parents=True)
    write_savedmodel(single(classifier), SMALL, folder / str(SMALL.version))
    return SMALL.name
