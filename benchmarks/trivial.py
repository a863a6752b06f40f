"""A model that costs next to nothing, so that a benchmark sees what is around it."""

from __future__ import annotations

from pathlib import Path

from models.card import ModelCard
from models.networks.runtime import start_tensorflow

CARD = ModelCard(
    name="mean",
    version=1,
    labels=("dark", "bright"),
    image_size=(224, 224),
    network="mean of the pixels",
    recipe="none",
    temperature=1.0,
    clip_bound=0.95,
)


def publish_trivial_model(models_dir: Path) -> str:
    """Write the SavedModel below *models_dir*; its name."""
    start_tensorflow()
    import keras

    from export.publication.savedmodel import write_savedmodel
    from export.training.classifier import single

    pixels = keras.Input((*CARD.image_size, 3))
    mean = keras.layers.GlobalAveragePooling2D()(pixels)
    classifier = keras.Model(pixels, keras.layers.Dense(2)(mean))
    folder = models_dir / CARD.name
    folder.mkdir(parents=True)
    write_savedmodel(single(classifier), CARD, folder / str(CARD.version))
    return CARD.name
