"""Online: images/s at 32 clients and p50 at one, against the bare SavedModel.

`python -m benchmarks.online`: each client posts one 500x375 JPEG at a time, by itself.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.harness.baselines import BareModel
from benchmarks.harness.load import Target
from benchmarks.harness.photos import camera_jpeg
from benchmarks.harness.stack import running_stack, settings

CLIENTS = 32
SECONDS = 40.0


def main() -> None:
    bare = BareModel(settings().models_dir)
    before = bare.images_per_second(32)
    with tempfile.TemporaryDirectory() as empty, running_stack(Path(empty)) as stack:
        target = Target(f"{stack.url}/v1/predict?model={bare.name}")
        target.clients(2, 2)
        # In turns, because the machine's speed drifts.
        singles, bare_singles = [], []
        for _ in range(3):
            bare_singles.append(bare.median_seconds(calls=20))
            singles.append(target.clients(1, 6).milliseconds(50) / 1000)
        rate = target.clients(CLIENTS, SECONDS).rate
    after = bare.images_per_second(32)
    single, bare_single = statistics.median(singles), statistics.median(bare_singles)
    print(f"photo: JPEG 500x375, {len(camera_jpeg(1)):,} bytes; model {bare.name}")
    print(f"bare SavedModel, batch 32: {before:.2f} and {after:.2f} images/s")
    ratio = rate / ((before + after) / 2)
    print(f"API, {CLIENTS} clients: {rate:.2f} images/s, ratio {ratio:.3f}")
    print(
        f"p50 at one client: {1000 * single:.1f} ms, bare batch 1: "
        f"{1000 * bare_single:.1f} ms, difference {1000 * (single - bare_single):.1f} ms"
    )


if __name__ == "__main__":
    main()
