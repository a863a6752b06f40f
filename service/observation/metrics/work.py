"""What folder jobs need besides themselves: Redis, workers, the reconciler, the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from models.errors import QueueUnavailableError
from service.observation.metrics.ages import age_seconds
from service.observation.metrics.recent import FRESH_SECONDS, Recent
from worker.queue import JobQueue, QueueFigures

_REDIS_SECONDS: Final = 0.5


class WorkMetrics:
    """Gauges of the moment; what cannot be asked is left out, but Redis itself is told."""

    def __init__(self, queue: JobQueue, fresh_seconds: float = FRESH_SECONDS) -> None:
        """Ask *queue*; who asks again within *fresh_seconds* gets the same answer."""
        self._queue = queue
        self._figures = Recent(self._ask, fresh_seconds)
        self._takes_work = Recent(self._ask_for_room, fresh_seconds)

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        figures = self._figures()
        yield _gauge("redis_up", "Redis answers.", figures is not None)
        text = "Redis takes writes and never drops them."
        yield _gauge("redis_takes_work", text, self._takes_work())
        if figures is not None:
            yield from self._of_queue(figures)
        looked = self._queue.last_reconciled()
        if looked is not None:
            name = "reconciler_last_look_timestamp_seconds"
            yield _gauge(name, "When the reconciler looked for lost work.", looked)
        yield from self._of_disk()

    def _of_queue(self, figures: QueueFigures) -> Iterator[Metric]:
        if figures.durable is not None:
            text = "Redis writes to its append-only file."
            yield _gauge("redis_durable", text, figures.durable)
        oldest = [] if figures.oldest is None else [figures.oldest]
        age = max(age_seconds(oldest))
        yield self._labelled(
            "workers_live", "Workers heard of lately.", figures.workers
        )
        yield self._labelled("work_queued", "Shards not fetched yet.", figures.waiting)
        text = "Age of the shard that waits longest."
        yield self._labelled("work_oldest_queued_seconds", text, age)
        if figures.last_heartbeat is not None:
            name = "worker_last_heartbeat_timestamp_seconds"
            text = "When a worker was heard of last."
            yield self._labelled(name, text, figures.last_heartbeat)

    def _of_disk(self) -> Iterator[Metric]:
        with suppress(OSError):
            disk = self._queue.disk()
            yield _gauge(
                "job_disk_free_bytes", "Room on the disk of the runs.", disk.free
            )
            yield _gauge("job_disk_size_bytes", "All of that disk.", disk.size)
            text = "With less room, no job is taken in (MIN_FREE_MIB)."
            yield _gauge("job_disk_needed_bytes", text, disk.needed)

    def _labelled(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=("queue",))
        family.add_metric((self._queue.name,), value)
        return family

    def _ask(self) -> QueueFigures | None:
        try:
            return self._queue.queue_figures(_REDIS_SECONDS)
        except QueueUnavailableError:
            return None

    def _ask_for_room(self) -> bool:
        try:
            self._queue.ping(_REDIS_SECONDS)
        except QueueUnavailableError:
            return False
        return True


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
