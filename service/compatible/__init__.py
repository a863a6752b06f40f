"""Protocols of other model servers, so that their clients can ask ours.

TensorFlow Serving's REST API and the Open Inference Protocol, version 2. Both take
encoded images, give the model's own outputs, unclipped, and go the way of /v1/predict:
the same decoding, the same limits, the same deadline.
"""
