"""Upper bounds of the histograms; times are in seconds."""

from __future__ import annotations

from typing import Final

from models.contract import MAX_BATCH_SIZE

# OpenTelemetry's bounds for http.server.request.duration, semantic conventions 1.23.
HTTP_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)

PART_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, *HTTP_SECONDS)
"""For parts of a request: decoding a photo takes a millisecond, waiting often nothing."""

BATCH_SIZES: Final = tuple(2**power for power in range(MAX_BATCH_SIZE.bit_length()))

JOB_SECONDS: Final = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)
