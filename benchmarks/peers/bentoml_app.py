"""BentoML with adaptive batching: `bentoml serve benchmarks.peers.bentoml_app:Predictor`.

PEER_WORKERS is the number of its processes.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml  # type: ignore[import-not-found]
import numpy as np
from PIL import Image

from benchmarks.peers.work import MAX_BATCH_SIZE, load_network, pixels_of


@bentoml.service(
    workers=int(os.environ.get("PEER_WORKERS", "1")), traffic={"timeout": 60}
)
class Predictor:
    def __init__(self) -> None:
        self.network = load_network()

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=20_000
    )
    def predict(self, image: list[Image.Image]) -> list[list[float]]:
        batch: Any = np.stack([pixels_of(photo) for photo in image])
        answer: list[list[float]] = self.network(batch).tolist()
        return answer
