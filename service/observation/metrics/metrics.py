"""All metrics of one process, and what is read when somebody scrapes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.observation.metrics.inference import InferenceMetrics
from service.observation.metrics.jobs import JobMetrics
from service.observation.metrics.process import ProcessMetrics
from service.observation.metrics.seen_jobs import SeenJobs
from service.observation.metrics.served import ServedMetrics
from service.observation.metrics.traffic import TrafficMetrics
from service.observation.metrics.upstream import UpstreamMetrics
from service.observation.metrics.work import WorkMetrics
from service.served.catalog import Catalog
from worker.queue import JobQueue


class Metrics:
    """The instruments that requests touch.

    Attributes:
        registry: holds the instruments of this process.
        folder: where those of all processes meet; None: there is only this one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Make the instruments; *folder* is the one that prometheus_client writes to."""
        self.registry = CollectorRegistry()
        self.folder = folder
        self.traffic = TrafficMetrics(self.registry)
        self.inference = InferenceMetrics(self.registry)
        self.upstream = UpstreamMetrics(self.registry)

    def instruments(self) -> Collector:
        """What all processes counted together."""
        if self.folder is None:
            return self.registry
        collector: Collector = MultiProcessCollector(None, str(self.folder))  # type: ignore[no-untyped-call]
        return collector


class Exposition(Collector):
    """What GET /metrics shows: the sums over all processes, and gauges of the moment."""

    def __init__(self, metrics: Metrics, catalog: Catalog, queue: JobQueue) -> None:
        """Read *metrics*, and ask *catalog* and *queue*."""
        self._metrics = metrics
        self._jobs = JobMetrics(metrics.registry, queue, SeenJobs(metrics.folder))
        self._moment = (
            WorkMetrics(queue),
            ServedMetrics(catalog),
            ProcessMetrics(metrics.folder),
        )

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        # Jobs first: looking at them counts what is new.
        yield from self._jobs.collect()
        for each in self._moment:
            yield from each.collect()
        yield from self._metrics.instruments().collect()
