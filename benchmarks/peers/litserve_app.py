"""LitServe with batching: `python -m benchmarks.peers.litserve_app PORT WORKERS`."""

from __future__ import annotations

import sys
from typing import Any

import litserve  # type: ignore[import-not-found]
import numpy as np

from benchmarks.peers.work import (
    BATCH_WAIT_SECONDS,
    MAX_BATCH_SIZE,
    decode,
    load_network,
)


class Predictor(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.network = load_network()

    # An annotation would be taken for the type of the request's body.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return decode(request["image"].file.read())

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, batch: Any) -> Any:
        return self.network(batch)

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"probabilities": output.tolist()}


def main(port: int, workers: int) -> None:
    predictor = Predictor(
        max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_WAIT_SECONDS
    )
    server = litserve.LitServer(
        predictor, accelerator="cpu", workers_per_device=workers
    )
    server.run(
        host="127.0.0.1", port=port, generate_client_file=False, log_level="warning"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
