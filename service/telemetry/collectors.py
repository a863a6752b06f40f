"""What GET /metrics shows: sums over all processes, and gauges read at the scrape.

Gauges: jobs, Redis, workers and disk, the model server's versions, memory. Run directories
tell states; counters want events. So the last state of each job is kept, and a change is
counted by whichever process sees it first: a retried job does not take its failure back,
and images that are worked on again count again.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections import Counter as Counted
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from models import VERSION
from models.errors import QueueUnavailableError
from models.files import locked_file, parse_json
from service.predict.catalog import Catalog
from service.telemetry.metrics import (
    JOB_SECONDS,
    InferenceMetrics,
    TrafficMetrics,
    UpstreamMetrics,
)
from service.telemetry.model_collector import FRESH_SECONDS, Recent, ServedMetrics
from worker.queue import STATES, JobFigures, JobQueue, QueueFigures


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


RECENT_SECONDS: Final = 24 * 3600.0

logger = logging.getLogger(__name__)

_ENDS: Final = ("succeeded", "failed", "cancelled")
_QUEUE: Final = ("queue",)
_BY_STATE: Final = ("queue", "state")


class JobMetrics:
    """The jobs of all processes; `collect` also counts what is new."""

    def __init__(
        self,
        registry: CollectorRegistry,
        queue: JobQueue,
        seen: SeenJobs,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        """Register the counters; *seen* is shared by the service's processes.

        Who asks again within *fresh_seconds* gets what was found before.
        """
        self._queue = queue
        self._seen = seen
        self._recent = Recent(self._look, fresh_seconds)
        self._ended = Counter(
            "jobs_total", "Jobs that ended.", _BY_STATE, registry=registry
        )
        self._images = Counter(
            "job_images_total",
            "Images of jobs, answered (ok) or unreadable.",
            ("queue", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "job_duration_seconds",
            "From a succeeded job's first shard to its CSV.",
            _QUEUE,
            registry=registry,
            buckets=JOB_SECONDS,
        )
        for state in _ENDS:
            self._ended.labels(queue.name, state)

    def collect(self) -> Iterator[Metric]:
        """The gauges of this moment."""
        jobs = self._recent()
        if jobs is not None:
            yield from self._states(jobs)

    def _states(self, jobs: list[JobFigures]) -> Iterator[Metric]:
        family = GaugeMetricFamily("jobs_present", "By state.", labels=_BY_STATE)
        present = Counted(job.state for job in jobs)
        for state in STATES:
            family.add_metric((self._queue.name, state), present[state])
        yield family
        queued, running = present["queued"], present["running"]
        yield self._gauge("jobs_queued", "Jobs of which nothing has begun.", queued)
        yield self._gauge("jobs_running", "Jobs that have begun.", running)
        yield from self._ages(jobs)
        yield self._recent_images(jobs)

    def _ages(self, jobs: list[JobFigures]) -> Iterator[Metric]:
        waiting = age_seconds(job.created for job in jobs if job.state == "queued")
        yield self._gauge(
            "job_oldest_queued_seconds", "Age of the oldest queued.", max(waiting)
        )
        resting = age_seconds(
            job.progressed for job in jobs if job.progressed is not None
        )
        text = "Since a running job finished a shard: of the {} of them."
        for name, which, age in (
            ("job_longest_rest_seconds", "slowest", max(resting)),
            ("job_shortest_rest_seconds", "quickest", min(resting)),
        ):
            yield self._gauge(name, text.format(which), age)

    def _recent_images(self, jobs: list[JobFigures]) -> Metric:
        since = time.time() - RECENT_SECONDS
        recent = [job for job in jobs if job.ended is None or job.ended >= since]
        unreadable = sum(job.unreadable for job in recent)
        answered = sum(job.done for job in recent) - unreadable
        family = GaugeMetricFamily(
            "job_recent_images",
            "Images of jobs that run or ended within a day, by outcome.",
            labels=("queue", "outcome"),
        )
        family.add_metric((self._queue.name, "ok"), answered)
        family.add_metric((self._queue.name, "unreadable"), unreadable)
        return family

    def _look(self) -> list[JobFigures] | None:
        try:
            # Looked at under the lock: older figures must not come after newer ones.
            with self._seen.locked() as seen:
                jobs = self._queue.figures()
                self._count(jobs, seen)
        except OSError as error:
            logger.warning("no figures of jobs: %s", error)
            return None
        return jobs

    def _count(self, jobs: Iterable[JobFigures], seen: dict[str, SeenJob]) -> None:
        now = {job.id: SeenJob(job.ended, job.done, job.unreadable) for job in jobs}
        for job in jobs:
            before, after = seen.get(job.id, NOTHING_SEEN), now[job.id]
            self._count_images("ok", after.answered - before.answered)
            self._count_images("unreadable", after.unreadable - before.unreadable)
            if job.ended is not None and job.ended != before.ended:
                self._count_end(job, job.ended)
        # Those that are gone stay seen: a volume may come back.
        seen.update(now)

    def _count_images(self, outcome: str, more: int) -> None:
        self._images.labels(self._queue.name, outcome).inc(max(more, 0))

    def _count_end(self, job: JobFigures, ended: float) -> None:
        self._ended.labels(self._queue.name, job.state).inc()
        if job.state == "succeeded" and job.started is not None:
            self._seconds.labels(self._queue.name).observe(ended - job.started)

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=_QUEUE)
        family.add_metric((self._queue.name,), value)
        return family


class SeenJob(NamedTuple):
    """One job: when it ended (None: it has not), its images done and unreadable."""

    ended: float | None
    done: int
    unreadable: int

    @property
    def answered(self) -> int:
        """Images that have probabilities."""
        return self.done - self.unreadable


NOTHING_SEEN: Final = SeenJob(None, 0, 0)


class SeenJobs:
    """Jobs by id; whoever holds the lock reads and changes them."""

    def __init__(self, folder: Path | None) -> None:
        """Keep them in *folder*, for all its processes; None: in memory, for one."""
        self._path = folder / "jobs.json" if folder else None
        self._lock = threading.Lock()
        self._memory: dict[str, SeenJob] = {}

    @contextmanager
    def locked(self) -> Iterator[dict[str, SeenJob]]:
        """The jobs; what the block makes of them is kept."""
        with self._lock:
            if self._path is None:
                yield self._memory
            else:
                with _locked_jobs(self._path) as jobs:
                    yield jobs


@contextmanager
def _locked_jobs(path: Path) -> Iterator[dict[str, SeenJob]]:
    with locked_file(path.with_suffix(".lock")):
        jobs = _load(path)
        yield jobs
        # Renamed, so that a process which is killed here leaves the old one.
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(jobs), encoding="utf-8")
        fresh.rename(path)


def _load(path: Path) -> dict[str, SeenJob]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {id_: SeenJob(*each) for id_, each in content.items()}


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
        yield _plain_gauge("redis_up", "Redis answers.", figures is not None)
        text = "Redis takes writes and never drops them."
        yield _plain_gauge("redis_takes_work", text, self._takes_work())
        if figures is not None:
            yield from self._of_queue(figures)
        looked = self._queue.last_reconciled()
        if looked is not None:
            name = "reconciler_last_look_timestamp_seconds"
            yield _plain_gauge(
                name, "When the reconciler looked for lost work.", looked
            )
        yield from self._of_disk()

    def _of_queue(self, figures: QueueFigures) -> Iterator[Metric]:
        if figures.durable is not None:
            text = "Redis writes to its append-only file."
            yield _plain_gauge("redis_durable", text, figures.durable)
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
            yield _plain_gauge(
                "job_disk_free_bytes", "Room on the disk of the runs.", disk.free
            )
            yield _plain_gauge("job_disk_size_bytes", "All of that disk.", disk.size)
            text = "With less room, no job is taken in (MIN_FREE_MIB)."
            yield _plain_gauge("job_disk_needed_bytes", text, disk.needed)

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


def _plain_gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


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


def age_seconds(moments: Iterable[float]) -> list[float]:
    """Seconds since each of *moments*, times since the epoch; [0] if there are none.

    A moment in the future, of a clock that goes ahead, is now.
    """
    now = time.time()
    return [max(now - moment, 0.0) for moment in moments] or [0.0]
