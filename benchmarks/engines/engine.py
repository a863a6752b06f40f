"""One engine with one model: it computes and measures what its standard input asks for.

    python -m benchmarks.engines.engine NAME MODEL PHOTOS CALIBRATION THREADS

PHOTOS and CALIBRATION are .npy files, uint8 [N, H, W, 3]. The process writes "ready", and
then an answer for each line that it reads: for `speed N` the images/s of a batch of N,
for `answer FILE` the FILE, to which it wrote the probabilities of all photos.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

Network: TypeAlias = Callable[[Any], Any]
"""uint8 [N, H, W, 3] -> probabilities [N, K]."""

LEAST_IMAGES: Final = 8
"""Photos that a figure of small batches comes from."""

ANSWER_BATCH: Final = 32

Load: TypeAlias = Callable[[Path, Any, int], Network]
"""(model, calibration photos, threads) -> network."""


def load_tensorflow(model: Path, _calibration: Any, threads: int) -> Network:
    import tensorflow as tf

    from benchmarks.peers.work import load_savedmodel

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    return load_savedmodel(str(model))


def load_litert(model: Path, _calibration: Any, threads: int) -> Network:
    """A .tflite file; XNNPACK computes it, which is LiteRT's default on CPUs."""
    from ai_edge_litert.interpreter import (  # type: ignore[import-not-found]
        Interpreter,
    )

    @cache
    def interpreter(count: int) -> tuple[Any, int, int]:
        # XNNPACK takes fixed shapes only: one interpreter for each batch size.
        made = Interpreter(str(model), num_threads=threads)
        (images,) = made.get_input_details()
        made.resize_tensor_input(images["index"], [count, *images["shape"][1:]])
        made.allocate_tensors()
        outputs = made.get_signature_runner().get_output_details()
        return made, images["index"], outputs["probabilities"]["index"]

    def predict(batch: Any) -> Any:
        made, images, probabilities = interpreter(len(batch))
        made.set_tensor(images, batch)
        made.invoke()
        return made.get_tensor(probabilities)

    return predict


def load_openvino(model: Path, calibration: Any, threads: int) -> Network:
    """A SavedModel, which NNCF quantizes on the calibration photos."""
    import nncf  # type: ignore[import-not-found]
    import openvino  # type: ignore[import-not-found]

    photos = nncf.Dataset(list(calibration), lambda photo: photo[None])
    converted = openvino.convert_model(str(model))
    quantized = nncf.quantize(converted, photos, subset_size=len(calibration))
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(quantized, "CPU", options)
    return lambda batch: compiled(batch)["probabilities"]


LOADERS: Final[Mapping[str, Load]] = {
    "TensorFlow": load_tensorflow,
    "LiteRT": load_litert,
    "OpenVINO": load_openvino,
}


def main() -> None:
    name, model, photos_file, calibration, threads = sys.argv[1:]
    # Libraries print as well: what they print goes to stderr, and answers to stdout.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    photos = np.load(photos_file)
    network = LOADERS[name](Path(model), np.load(calibration), int(threads))
    print("ready", file=answers)
    for line in sys.stdin:
        asked, value = line.split(maxsplit=1)
        answer = measure_speed if asked == "speed" else write_probabilities
        print(answer(network, photos, value.strip()), file=answers)


def measure_speed(network: Network, photos: Any, count: str) -> float:
    batch = photos[: int(count)]
    network(batch[:1])  # wakes threads: other engines computed meanwhile
    calls = -(-LEAST_IMAGES // len(batch))
    began = time.perf_counter()
    for _ in range(calls):
        network(batch)
    return calls * len(batch) / (time.perf_counter() - began)


def write_probabilities(network: Network, photos: Any, file: str) -> str:
    starts = range(0, len(photos), ANSWER_BATCH)
    parts = [network(photos[start : start + ANSWER_BATCH]) for start in starts]
    np.save(file, np.concatenate(parts))
    return file


if __name__ == "__main__":
    main()
