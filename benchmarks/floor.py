"""What a photo costs without any server: Pillow's decode and resize, mean, on one core.

`python -m benchmarks.floor`: milliseconds of processor time a photo.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.peers.work import decode
from benchmarks.photos import camera_jpeg

_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4194304", "MALLOC_TRIM_THRESHOLD_": "16777216"}
"""As `service.main` has it: with glibc's own the kernel's page faults double the cost."""

_SECONDS = 2.0


def floor_milliseconds() -> float:
    """Processor time of one photo, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.floor"]
    environment = {**os.environ, **_MALLOC}
    return float(subprocess.check_output(command, env=environment, text=True))


def _measure() -> float:
    image = camera_jpeg(1)
    count, began = 0, time.process_time()
    while time.process_time() < began + _SECONDS:
        decode(image).mean()
        count += 1
    return 1000 * (time.process_time() - began) / count


if __name__ == "__main__":
    print(_measure())
