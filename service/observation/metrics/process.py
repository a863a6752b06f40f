"""``process_resident_memory_bytes`` and ``build_info`` of the service as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from models import VERSION

_OF_LIVE_PROCESS: Final = re.compile(r"gauge_live.*_([0-9]+)\.db")


class ProcessMetrics:
    """The processes whose metrics are in one folder, and the one that started them."""

    def __init__(self, folder: Path | None) -> None:
        """Look at those in *folder*; None: at this process alone."""
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """The gauges of this moment; memory only where there is a Linux /proc."""
        sizes = [size for pid in self._pids() if (size := _resident_bytes(pid))]
        if sizes:
            text = "Physical memory of all processes of this service."
            name = "process_resident_memory_bytes"
            yield GaugeMetricFamily(name, text, value=sum(sizes))
        family = GaugeMetricFamily("build_info", "Kennel itself.", labels=("version",))
        family.add_metric((VERSION,), 1)
        yield family

    def _pids(self) -> set[int]:
        if self._folder is None:
            return {os.getpid()}
        found = map(_OF_LIVE_PROCESS.fullmatch, os.listdir(self._folder))  # noqa: PTH208
        # gunicorn's arbiter counts nothing, so it has no file.
        return {os.getppid(), *(int(match[1]) for match in found if match)}


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
