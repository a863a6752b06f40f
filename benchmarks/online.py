"""Online: images/s at 32 clients and p50 at one, against the bare SavedModel.

`python -m benchmarks.online`: each client posts one 500x375 JPEG at a time, by itself.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import threading
import time
from pathlib import Path

import urllib3

from benchmarks.bare import BareModel
from benchmarks.deployment import running_stack, settings
from benchmarks.photos import camera_jpeg

CLIENTS = 32
SECONDS = 40.0


def measure_clients(
    url: str, image: bytes, clients: int, seconds: float
) -> list[float]:
    """Seconds of each request answered while *clients* post for *seconds*."""
    taken: list[float] = []
    deadline = time.perf_counter() + seconds

    def post() -> None:
        http = urllib3.PoolManager(maxsize=1)
        headers = {"Content-Type": "image/jpeg"}
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            answer = http.request("POST", url, body=image, headers=headers)
            if answer.status != 200:
                raise SystemExit(f"status {answer.status}: {answer.data[:300]!r}")
            taken.append(time.perf_counter() - began)

    threads = [threading.Thread(target=post) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def main() -> None:
    bare = BareModel(settings().models_dir)
    image = camera_jpeg(1)
    before = bare.images_per_second(32)
    bare_single = bare.median_seconds()
    with tempfile.TemporaryDirectory() as empty, running_stack(Path(empty)) as stack:
        url = f"{stack.url}/v1/predict?model={bare.name}"
        measure_clients(url, image, 2, 2)
        single = statistics.median(measure_clients(url, image, 1, 10))
        began = time.perf_counter()
        taken = measure_clients(url, image, CLIENTS, SECONDS)
        rate = len(taken) / (time.perf_counter() - began)
    gc.collect()
    after = bare.images_per_second(32)
    baseline = (before + after) / 2
    print(f"photo: JPEG 500x375, {len(image):,} bytes; model {bare.name}")
    print(f"bare SavedModel, batch 32: {before:.2f} and {after:.2f} images/s")
    print(f"API, {CLIENTS} clients: {rate:.2f} images/s, ratio {rate / baseline:.3f}")
    extra = 1000 * (single - bare_single)
    print(
        f"p50 at one client: {1000 * single:.1f} ms, "
        f"bare batch 1: {1000 * bare_single:.1f} ms, difference {extra:.1f} ms"
    )


if __name__ == "__main__":
    main()
