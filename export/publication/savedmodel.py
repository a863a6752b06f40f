"""A classifier as a SavedModel with the three signatures of the contract.

Preprocessing and temperature are in the graph, clipping is not: the bound is in the card.
Every weight is stored once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.card import ModelCard
from models.contract import (
    BATCH_SIZES,
    CARD_FILE,
    CARD_OUTPUT,
    DESCRIBE_SIGNATURE,
    ENCODED_SIGNATURE,
    IMAGES_INPUT,
    LOGITS_OUTPUT,
    PROBABILITIES_OUTPUT,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
    WARMUP_FILE,
)
from models.errors import ModelContractError
from models.images import Pixels
from models.storage import sync_path, write_atomically
from models.wire import messages

MAX_SKEW = 1e-5
"""How far the exported graph may be from Keras, in probability."""


def write_savedmodel(classifier: Any, card: ModelCard, folder: Path) -> None:
    """Write SavedModel, card and warm-up requests into the new *folder*, durably.

    *classifier* is a Keras model: pixels 0..255 [N, H, W, 3] -> logits [N, K].
    """
    module = tf.Module(name="kennel")
    # Only the variables are tracked: with the Keras model each would be stored twice.
    module.variables_to_save = [each.value for each in classifier.variables]
    signatures = serving_signatures(classifier, card)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    write_atomically(folder / CARD_FILE, card.to_json())
    _write_warmup(folder / WARMUP_FILE, card)
    # TensorFlow does not flush its files; what is renamed into place must be there.
    for each in [*folder.rglob("*"), folder]:
        sync_path(each)


def serving_signatures(classifier: Any, card: ModelCard) -> dict[str, Any]:
    """The graph functions of the contract, by signature name."""
    height, width = card.image_size
    described = card.to_json()

    def predict(images: Any) -> dict[str, Any]:
        logits = classifier(tf.cast(images, tf.float32), training=False)
        logits = tf.cast(logits, tf.float32)
        probabilities = tf.nn.softmax(logits / card.temperature)
        return {PROBABILITIES_OUTPUT: probabilities, LOGITS_OUTPUT: logits}

    def decode(image: Any) -> Any:
        pixels = tf.io.decode_image(image, channels=3, expand_animations=False)
        resized = tf.image.resize(pixels, card.image_size, antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)

    def predict_encoded(images: Any) -> dict[str, Any]:
        pixels = tf.map_fn(decode, images, fn_output_signature=tf.uint8)
        return predict(tf.ensure_shape(pixels, [None, height, width, 3]))

    def describe(request: Any) -> dict[str, Any]:
        return {CARD_OUTPUT: tf.fill(tf.shape(request), described)}

    pixels = tf.TensorSpec([None, height, width, 3], tf.uint8, name=IMAGES_INPUT)
    encoded = tf.TensorSpec([None], tf.string, name=IMAGES_INPUT)
    request = tf.TensorSpec([None], tf.int32, name=REQUEST_INPUT)
    return {
        SERVING_SIGNATURE: _graph(predict, pixels),
        ENCODED_SIGNATURE: _graph(predict_encoded, encoded),
        DESCRIBE_SIGNATURE: _graph(describe, request),
    }


def _graph(function: Any, spec: Any) -> Any:
    return tf.function(function, input_signature=[spec], autograph=False)


def check_savedmodel(
    folder: Path, card: ModelCard, pixels: Pixels, expected: Any
) -> None:
    """Load what was written and compare it with Keras's probabilities.

    Raises:
        ModelContractError: it does not load, or answers otherwise.
    """
    loaded = tf.saved_model.load(str(folder))
    missing = {SERVING_SIGNATURE, ENCODED_SIGNATURE, DESCRIBE_SIGNATURE} - set(
        loaded.signatures
    )
    if missing:
        raise ModelContractError(f"{folder} lacks the signatures {sorted(missing)}")
    request = tf.zeros([1], tf.int32)
    described = loaded.signatures[DESCRIBE_SIGNATURE](**{REQUEST_INPUT: request})
    if ModelCard.from_json(described[CARD_OUTPUT].numpy()[0]) != card:
        raise ModelContractError(f"{folder} describes itself otherwise than its card")
    predict = loaded.signatures[SERVING_SIGNATURE]
    answers = predict(**{IMAGES_INPUT: tf.constant(pixels)})
    skew = float(np.abs(answers[PROBABILITIES_OUTPUT].numpy() - expected).max())
    if not skew <= MAX_SKEW:
        message = f"{folder} is off by {skew:.2g} from Keras, {MAX_SKEW:g} is allowed"
        raise ModelContractError(message)


def _write_warmup(path: Path, card: ModelCard) -> None:
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch_size in BATCH_SIZES:
            writer.write(_warmup_record(card, batch_size).SerializeToString())


def _warmup_record(card: ModelCard, batch_size: int) -> Any:
    record = messages.PredictionLog()
    request = record.predict_log.request
    request.model_spec.name = card.name
    request.model_spec.signature_name = SERVING_SIGNATURE
    tensor = request.inputs[IMAGES_INPUT]
    tensor.dtype = messages.types.DT_UINT8
    for size in (batch_size, *card.image_size, 3):
        tensor.tensor_shape.dim.add(size=size)
    tensor.int_val.append(0)  # one value stands for all
    return record
