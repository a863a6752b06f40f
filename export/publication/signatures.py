"""The graph functions of a SavedModel: what its signatures compute.

Preprocessing and temperature are in the graph, clipping is not: the bound is in the card.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from export.publication.encoded_images import decode_encoded
from export.training.classifier import Ensemble
from models.contract import (
    CARD_OUTPUT,
    CLASSES_INPUT,
    CLASSES_OUTPUT,
    DESCRIBE_SIGNATURE,
    ENCODED_SIGNATURE,
    EXPLAIN_SIGNATURE,
    HEATMAPS_OUTPUT,
    IMAGES_INPUT,
    LOGITS_OUTPUT,
    PROBABILITIES_OUTPUT,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
    ModelCard,
)
from models.errors import InvalidRequestError
from models.networks.attention import CutEnsemble, cut_at_last_maps, heatmaps


def serving_signatures(classifier: Any, card: ModelCard) -> dict[str, Any]:
    """The graph functions of predictions and of the card, by signature name."""
    height, width = card.image_size
    described = card.to_json()

    def predict(images: Any) -> dict[str, Any]:
        logits = classifier(tf.cast(images, tf.float32), training=False)
        return _answer(logits, card)

    def predict_encoded(images: Any) -> dict[str, Any]:
        decode = partial(decode_encoded, size=card.image_size)
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
        looks = network.look(tf.cast(images, tf.float32))
        answer = _answer(ensemble.average([each.logits() for each in looks]), card)
        best = tf.argmax(answer[PROBABILITIES_OUTPUT], axis=1, output_type=tf.int32)
        # Whatever is no class: an error here would be that of the whole batch.
        known = (classes >= 0) & (classes < len(card.labels))
        chosen = tf.where(known, classes, best)
        heat = heatmaps(looks, chosen)
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
