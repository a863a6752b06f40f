"""A classifier as a SavedModel with the signatures of the contract.

Preprocessing and temperature are in the graph, clipping is not: the bound is in the card.
Every weight is stored once. What was written is loaded and compared with Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.publication.graph_decoding import decode_encoded
from export.training.classifier import Ensemble, classify
from models.contract import (
    BATCH_SIZES,
    CARD_FILE,
    CARD_OUTPUT,
    CLASSES_INPUT,
    CLASSES_OUTPUT,
    DESCRIBE_SIGNATURE,
    ENCODED_SIGNATURE,
    EXPLAIN_SIGNATURE,
    HEATMAPS_OUTPUT,
    IMAGES_INPUT,
    LOGITS_OUTPUT,
    MOST_PROBABLE,
    PROBABILITIES_OUTPUT,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
    WARMUP_FILE,
    ModelCard,
)
from models.errors import InvalidRequestError, ModelContractError
from models.files import sync_path, write_atomically
from models.images.codec import Pixels
from models.networks.attention import CutEnsemble, cut_at_last_maps, heatmaps
from models.probabilities import softmax
from models.wire import protos

MAX_SKEW: Final = 1e-5
"""Largest difference of a probability between the exported graph and Keras."""

MAX_HEAT_SKEW: Final = 1e-2
"""Largest difference of heat, which is divided by its own maximum."""


def write_savedmodel(ensemble: Ensemble, card: ModelCard, folder: Path) -> ModelCard:
    """Write SavedModel, card and warm-up requests into the new *folder*, durably.

    Returns the card as it was written, with `explains` set.
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
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Load the SavedModel in *folder* and compare its answers for *pixels* with Keras's.

    Returns its probabilities and logits.

    Raises:
        ModelContractError: the SavedModel does not load, or its answers differ.
    """
    loaded = tf.saved_model.load(str(folder))
    _check_signatures(folder, loaded, card)
    predict = loaded.signatures[SERVING_SIGNATURE]
    answers = predict(**{IMAGES_INPUT: tf.constant(pixels)})
    expected = softmax(classify(ensemble.join(), pixels), card.temperature)
    _compare(folder, answers[PROBABILITIES_OUTPUT], expected, MAX_SKEW)
    if card.explains:
        _check_explanations(folder, loaded, ensemble, card, pixels)
    return answers[PROBABILITIES_OUTPUT].numpy(), answers[LOGITS_OUTPUT].numpy()


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


def serving_signatures(classifier: Any, card: ModelCard) -> dict[str, Any]:
    """The graph functions of predictions and of the card, by signature name."""
    height, width = card.image_size
    described = card.to_json()

    def predict(images: Any) -> dict[str, Any]:
        logits = classifier(tf.cast(images, tf.float32), training=False)
        return _answer(logits, card)

    def predict_encoded(images: Any) -> dict[str, Any]:
        decode = partial(
            decode_encoded, size=card.image_size, preprocessing=card.preprocessing
        )
        pixels = tf.map_fn(decode, images, fn_output_signature=tf.uint8)
        return predict(tf.ensure_shape(pixels, [None, height, width, 3]))

    def describe(request: Any) -> dict[str, Any]:
        return {CARD_OUTPUT: tf.fill(tf.shape(request), described)}

    encoded = tf.TensorSpec([None], tf.string, name=IMAGES_INPUT)
    request = tf.TensorSpec([None], tf.int32, name=REQUEST_INPUT)
    return {
        SERVING_SIGNATURE: _graph(predict, _pixels(card)),
        ENCODED_SIGNATURE: _graph(predict_encoded, encoded),
        DESCRIBE_SIGNATURE: _graph(describe, request),
    }


def explaining_signatures(ensemble: Ensemble, card: ModelCard) -> dict[str, Any]:
    """The graph function of explanations; none if the network has no maps."""
    try:
        network = cut_at_last_maps(ensemble.views, ensemble.members)
    except InvalidRequestError:
        return {}
    classes = tf.TensorSpec([None], tf.int32, name=CLASSES_INPUT)
    explain = _explainer(ensemble, network, card)
    return {EXPLAIN_SIGNATURE: _graph(explain, _pixels(card), classes)}


def _explainer(
    ensemble: Ensemble, network: CutEnsemble, card: ModelCard
) -> Callable[[Any, Any], dict[str, Any]]:
    def explain(images: Any, classes: Any) -> dict[str, Any]:
        maps = network.last_maps(tf.cast(images, tf.float32))
        answer = _answer(ensemble.average([each.logits() for each in maps]), card)
        best = tf.argmax(answer[PROBABILITIES_OUTPUT], axis=1, output_type=tf.int32)
        # Any other number means the most probable class: an error would fail the batch.
        known = (classes >= 0) & (classes < len(card.labels))
        chosen = tf.where(known, classes, best)
        heat = heatmaps(maps, chosen)
        return {**answer, HEATMAPS_OUTPUT: heat, CLASSES_OUTPUT: chosen}

    return explain


def _answer(logits: Any, card: ModelCard) -> dict[str, Any]:
    logits = tf.cast(logits, tf.float32)
    probabilities = tf.nn.softmax(logits / card.temperature)
    return {PROBABILITIES_OUTPUT: probabilities, LOGITS_OUTPUT: logits}


def _pixels(card: ModelCard) -> Any:
    return tf.TensorSpec([None, *card.image_size, 3], tf.uint8, name=IMAGES_INPUT)


def _graph(function: Any, *specs: Any) -> Any:
    return tf.function(function, input_signature=specs, autograph=False)


def write_warmup(path: Path, card: ModelCard) -> None:
    """Write a prediction of every batch size and, if *card* explains, one explanation."""
    path.parent.mkdir(parents=True)
    records = [_prediction(card, batch_size) for batch_size in BATCH_SIZES]
    if card.explains:
        records.append(_explanation(card))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())


def _prediction(card: ModelCard, batch_size: int) -> Any:
    record = protos.PredictionLog()
    request = record.predict_log.request
    request.model_spec.name = card.name
    request.model_spec.signature_name = SERVING_SIGNATURE
    tensor = request.inputs[IMAGES_INPUT]
    tensor.dtype = protos.types.DT_UINT8
    for size in (batch_size, *card.image_size, 3):
        tensor.tensor_shape.dim.add(size=size)
    tensor.int_val.append(0)  # one value stands for all
    return record


def _explanation(card: ModelCard) -> Any:
    record = _prediction(card, 1)
    request = record.predict_log.request
    request.model_spec.signature_name = EXPLAIN_SIGNATURE
    tensor = request.inputs[CLASSES_INPUT]
    tensor.dtype = protos.types.DT_INT32
    tensor.tensor_shape.dim.add(size=1)
    tensor.int_val.append(MOST_PROBABLE)
    return record
