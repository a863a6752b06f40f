"""The names in a SavedModel, used by the exporter, the servers and the client.

A change here is a change of the wire format: old versions would stop answering.
"""

from typing import Final

SERVING_SIGNATURE: Final = "serving_default"
ENCODED_SIGNATURE: Final = "encoded"
DESCRIBE_SIGNATURE: Final = "describe"
EXPLAIN_SIGNATURE: Final = "explain"
"""Only where the network has maps with a place; the card says so."""

IMAGES_INPUT: Final = "images"
REQUEST_INPUT: Final = "request"
CLASSES_INPUT: Final = "classes"

PROBABILITIES_OUTPUT: Final = "probabilities"
LOGITS_OUTPUT: Final = "logits"
CARD_OUTPUT: Final = "card"
HEATMAPS_OUTPUT: Final = "heatmaps"
CLASSES_OUTPUT: Final = "classes"

MOST_PROBABLE: Final = -1
"""As a class to explain: whichever is the most probable."""

CARD_FILE: Final = "card.json"
"""The model card, written beside ``saved_model.pb``."""

REPORT_FILE: Final = "assets.extra/report.html"
"""The training report, where there is one; model servers leave it alone."""

WARMUP_FILE: Final = "assets.extra/tf_serving_warmup_requests"
"""Where TensorFlow Serving looks for warm-up records (its ``saved_model_warmup``)."""

MAX_BATCH_SIZE: Final = 32
"""Images in one call: throughput is flat past 16 to 32 on CPU and on an A100."""

BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32)
"""Batch sizes that are warmed up before a version counts as ready."""

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""gRPC message limit on both sides; gRPC's own default, 4 MiB, is 27 images."""
