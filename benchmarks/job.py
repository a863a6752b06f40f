"""A folder job, submit to CSV, against the bare SavedModel at batch 32.

`python -m benchmarks.job [WORKERS]`: 640 JPEG photos of 500x375, whole job timed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bare import BareModel
from benchmarks.deployment import running_stack, settings
from benchmarks.photos import write_folder
from kennel.client import Client

IMAGES = 640


def main() -> None:
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    bare = BareModel(settings().models_dir)
    before = bare.images_per_second(32, batches=6)
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder) / "photos", IMAGES)
        with running_stack(Path(folder), workers) as stack:
            client = Client(stack.url)
            began = time.perf_counter()
            job = client.wait(client.submit("photos", model=bare.name).id)
            rows = client.submission(job.id).count(b"\n") - 1
            rate = IMAGES / (time.perf_counter() - began)
    after = bare.images_per_second(32, batches=6)
    baseline = (before + after) / 2
    print(f"bare SavedModel, batch 32: {before:.2f} and {after:.2f} images/s")
    print(
        f"job of {rows} images, {workers} workers, submit to CSV: {rate:.2f} images/s, "
        f"ratio {rate / baseline:.3f}"
    )


if __name__ == "__main__":
    main()
