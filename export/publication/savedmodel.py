"""A classifier as a SavedModel with the signatures of the contract.

Every weight is stored once. What was written is loaded and compared with Keras.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export.publication.signatures import explaining_signatures, serving_signatures
from export.publication.warmup import write_warmup
from export.training.classifier import Ensemble, classify
from models.contract import (
    CARD_FILE,
    CARD_OUTPUT,
    CLASSES_INPUT,
    DESCRIBE_SIGNATURE,
    ENCODED_SIGNATURE,
    EXPLAIN_SIGNATURE,
    HEATMAPS_OUTPUT,
    IMAGES_INPUT,
    MOST_PROBABLE,
    PROBABILITIES_OUTPUT,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
    WARMUP_FILE,
    ModelCard,
)
from models.errors import ModelContractError
from models.files import sync_path, write_atomically
from models.images.codec import Pixels
from models.probabilities import softmax

MAX_SKEW = 1e-5
"""How far the exported graph may be from Keras, in probability."""

MAX_HEAT_SKEW = 1e-2
"""The same for heat, which is divided by its own maximum."""


def write_savedmodel(ensemble: Ensemble, card: ModelCard, folder: Path) -> ModelCard:
    """Write SavedModel, card and warm-up requests into the new *folder*, durably.

    Returns the card as it was written: it says whether the version explains itself.
    """
    classifier = ensemble.join()
    module = tf.Module(name="kennel")
    # Only the variables are tracked: with the Keras model each would be stored twice.
    module.variables_to_save = [each.value for each in classifier.variables]
    explaining = explaining_signatures(ensemble, card)
    card = replace(card, explains=bool(explaining))
    signatures = {**serving_signatures(classifier, card), **explaining}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    write_atomically(folder / CARD_FILE, card.to_json())
    write_warmup(folder / WARMUP_FILE, card)
    # TensorFlow does not flush its files; what is renamed into place must be there.
    for each in [*folder.rglob("*"), folder]:
        sync_path(each)
    return card


def check_savedmodel(
    folder: Path, card: ModelCard, pixels: Pixels, ensemble: Ensemble
) -> None:
    """Load what was written and compare its answers for *pixels* with Keras's.

    Raises:
        ModelContractError: it does not load, or answers otherwise.
    """
    loaded = tf.saved_model.load(str(folder))
    _check_signatures(folder, loaded, card)
    predict = loaded.signatures[SERVING_SIGNATURE]
    answers = predict(**{IMAGES_INPUT: tf.constant(pixels)})
    expected = softmax(classify(ensemble.join(), pixels), card.temperature)
    _compare(folder, answers[PROBABILITIES_OUTPUT], expected, MAX_SKEW)
    if card.explains:
        _check_explanations(folder, loaded, ensemble, card, pixels)


def _check_signatures(folder: Path, loaded: Any, card: ModelCard) -> None:
    wanted = {SERVING_SIGNATURE, ENCODED_SIGNATURE, DESCRIBE_SIGNATURE}
    wanted |= {EXPLAIN_SIGNATURE} if card.explains else set()
    missing = wanted - set(loaded.signatures)
    if missing:
        raise ModelContractError(f"{folder} lacks the signatures {sorted(missing)}")
    request = tf.zeros([1], tf.int32)
    described = loaded.signatures[DESCRIBE_SIGNATURE](**{REQUEST_INPUT: request})
    if ModelCard.from_json(described[CARD_OUTPUT].numpy()[0]) != card:
        raise ModelContractError(f"{folder} describes itself otherwise than its card")


def _check_explanations(
    folder: Path, loaded: Any, ensemble: Ensemble, card: ModelCard, pixels: Pixels
) -> None:
    inputs = {
        IMAGES_INPUT: tf.constant(pixels),
        CLASSES_INPUT: tf.fill([len(pixels)], MOST_PROBABLE),
    }
    answers = loaded.signatures[EXPLAIN_SIGNATURE](**inputs)
    expected = explaining_signatures(ensemble, card)[EXPLAIN_SIGNATURE](**inputs)
    for output, allowed in (
        (PROBABILITIES_OUTPUT, MAX_SKEW),
        (HEATMAPS_OUTPUT, MAX_HEAT_SKEW),
    ):
        _compare(folder, answers[output], expected[output], allowed)


def _compare(folder: Path, answered: Any, expected: Any, allowed: float) -> None:
    skew = float(np.abs(np.asarray(answered) - np.asarray(expected)).max())
    if not skew <= allowed:
        message = f"{folder} is off by {skew:.2g} from Keras, {allowed:g} is allowed"
        raise ModelContractError(message)
