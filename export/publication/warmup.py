"""Warm-up requests: what a model server computes before a version counts as ready."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from models.contract import (
    BATCH_SIZES,
    CLASSES_INPUT,
    EXPLAIN_SIGNATURE,
    IMAGES_INPUT,
    MOST_PROBABLE,
    SERVING_SIGNATURE,
    ModelCard,
)
from models.wire import protos


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
