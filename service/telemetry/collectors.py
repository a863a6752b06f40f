"""The metrics of GET /metrics: sums over all processes, and gauges read at the scrape.

Gauges: jobs, Redis, workers, disk, the model server's versions, memory. Reads are cached
for two seconds, so that many scrapes cost as much as one.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models import VERSION
from models.contract import ModelCard
from models.errors import KennelError, QueueUnavailableError
from models.files import locked_file, parse_json
from models.wire.messages import AVAILABLE
from service.http.budget import Budget
from service.predict.catalog import Catalog
from service.telemetry.metrics import BIN_NAMES, WATCHED_LABELS, Metrics
from worker.queue import STATES, JobFigures, JobQueue, QueueFigures

FRESH_SECONDS: Final = 2.0
RECENT_JOB_SECONDS: Final = 24 * 3600.0
JOB_SECONDS: Final = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)

MODEL_STATES: Final = {
    "START": 10,
    "LOADING": 20,
    "AVAILABLE": 30,
    "UNLOADING": 40,
    "END": 50,
}
"""As in TensorFlow Serving's get_model_status.proto; 0 is unknown."""

_ENDS: Final = ("succeeded", "failed", "cancelled")
_QUEUE: Final = ("queue",)
_BY_STATE: Final = ("queue", "state")
_OF_VERSION: Final = ("model", "version")
_REDIS_SECONDS: Final = 0.5
_MODEL_SERVER_SECONDS: Final = 1.0
"""For all models: a model server that hangs must not hang the scrape."""

_OF_LIVE_PROCESS: Final = re.compile(r"gauge_live.*_([0-9]+)\.db")

_Version: TypeAlias = tuple[str, int]
_Value = TypeVar("_Value")

logger = logging.getLogger(__name__)


class Exposition(Collector):
    """Every metric that GET /metrics shows."""

    def __init__(self, metrics: Metrics, catalog: Catalog, queue: JobQueue) -> None:
        """Read *metrics*, *catalog* and *queue* at each scrape."""
        self._collectors = (
            # First: reading the jobs counts what is new.
            JobMetrics(metrics.registry, queue, SeenJobs(metrics.folder)),
            WorkMetrics(queue),
            ModelMetrics(catalog),
            ProcessMetrics(metrics.folder),
            metrics,
        )

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        for collector in self._collectors:
            yield from collector.collect()


class Cached(Generic[_Value]):
    """A value that may be a moment old; thread-safe: one thread reads, others wait."""

    def __init__(
        self, read: Callable[[], _Value], fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        """Keep what *read* returns for *fresh_seconds*."""
        self._read = read
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._value: _Value
        self._read_at: float | None = None

    def __call__(self) -> _Value:
        """The value, read now or lately."""
        with self._lock:
            now = time.monotonic()
            if self._read_at is None or now - self._read_at > self._fresh_seconds:
                self._value = self._read()
                self._read_at = time.monotonic()
            return self._value


class JobMetrics:
    """Jobs by state, and counters of jobs that ended and of their images.

    Job folders hold states; counters want events. So the last state of each job is kept,
    and each change is counted by the process that sees it first: a retried job does not
    take its failure back, and images that are worked on again count again.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        queue: JobQueue,
        seen: SeenJobs,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        """Register the counters; the service's processes share *seen*."""
        self._queue = queue
        self._seen = seen
        self._jobs = Cached(self._read, fresh_seconds)
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
        """The gauges of this moment; none if the job folders cannot be read."""
        jobs = self._jobs()
        if jobs is None:
            return
        family = GaugeMetricFamily("jobs_present", "Jobs by state.", labels=_BY_STATE)
        present = Counts(job.state for job in jobs)
        for state in STATES:
            family.add_metric((self._queue.name, state), present[state])
        yield family
        queued, running = present["queued"], present["running"]
        yield self._gauge("jobs_queued", "Jobs that have not begun.", queued)
        yield self._gauge("jobs_running", "Jobs that have begun.", running)
        yield from self._ages(jobs)
        yield self._recent_images(jobs)

    def _ages(self, jobs: list[JobFigures]) -> Iterator[Metric]:
        waiting = age_seconds(job.created for job in jobs if job.state == "queued")
        text = "Age of the oldest queued job."
        yield self._gauge("job_oldest_queued_seconds", text, max(waiting))
        resting = age_seconds(
            job.progressed for job in jobs if job.progressed is not None
        )
        text = "Seconds since the {} running job finished a shard."
        for name, which, age in (
            ("job_longest_rest_seconds", "slowest", max(resting)),
            ("job_shortest_rest_seconds", "quickest", min(resting)),
        ):
            yield self._gauge(name, text.format(which), age)

    def _recent_images(self, jobs: list[JobFigures]) -> Metric:
        since = time.time() - RECENT_JOB_SECONDS
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

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        return _queue_gauge(self._queue, name, text, value)

    def _read(self) -> list[JobFigures] | None:
        try:
            # Read under the lock: older figures must not come after newer ones.
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
            before, after = seen.get(job.id, _NOTHING_SEEN), now[job.id]
            self._count_images("ok", after.answered - before.answered)
            self._count_images("unreadable", after.unreadable - before.unreadable)
            if job.ended is not None and job.ended != before.ended:
                self._count_end(job, job.ended)
        # Missing jobs stay listed: their volume may come back.
        seen.update(now)

    def _count_images(self, outcome: str, more: int) -> None:
        self._images.labels(self._queue.name, outcome).inc(max(more, 0))

    def _count_end(self, job: JobFigures, ended: float) -> None:
        self._ended.labels(self._queue.name, job.state).inc()
        if job.state == "succeeded" and job.started is not None:
            self._seconds.labels(self._queue.name).observe(ended - job.started)


class SeenJob(NamedTuple):
    """The last state of a job: its end (None: not ended), images done, images unreadable."""

    ended: float | None
    done: int
    unreadable: int

    @property
    def answered(self) -> int:
        """Images that have probabilities."""
        return self.done - self.unreadable


_NOTHING_SEEN: Final = SeenJob(None, 0, 0)


class SeenJobs:
    """Last states by job id; read and changed under a lock that all processes share."""

    def __init__(self, folder: Path | None) -> None:
        """Keep them in *folder*, for all its processes; None: in memory, for one."""
        self._path = folder / "jobs.json" if folder else None
        self._lock = threading.Lock()
        self._memory: dict[str, SeenJob] = {}

    @contextmanager
    def locked(self) -> Iterator[dict[str, SeenJob]]:
        """The states; what the block changes is kept."""
        with self._lock:
            if self._path is None:
                yield self._memory
                return
            with locked_file(self._path.with_suffix(".lock")):
                jobs = self._load(self._path)
                yield jobs
                # Renamed: a process that is killed here leaves the old file.
                fresh = self._path.with_suffix(".new")
                fresh.write_text(json.dumps(jobs), encoding="utf-8")
                fresh.rename(self._path)

    @staticmethod
    def _load(path: Path) -> dict[str, SeenJob]:
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {id_: SeenJob(*each) for id_, each in content.items()}


class WorkMetrics:
    """Gauges of Redis, workers, reconciler and disk; unknown values are left out."""

    def __init__(self, queue: JobQueue, fresh_seconds: float = FRESH_SECONDS) -> None:
        """Read *queue*, at most once in *fresh_seconds*."""
        self._queue = queue
        self._figures = Cached(self._read_figures, fresh_seconds)
        self._takes_work = Cached(self._read_takes_work, fresh_seconds)

    def collect(self) -> Iterator[Metric]:
        """The gauges of this moment."""
        figures = self._figures()
        yield GaugeMetricFamily("redis_up", "Redis answers.", value=figures is not None)
        text = "Redis accepts writes and never evicts keys."
        yield GaugeMetricFamily("redis_takes_work", text, value=self._takes_work())
        if figures is not None:
            yield from self._of_queue(figures)
        looked = self._queue.last_reconciled()
        if looked is not None:
            name = "reconciler_last_look_timestamp_seconds"
            text = "Time when the reconciler last looked for lost work."
            yield GaugeMetricFamily(name, text, value=looked)
        yield from self._of_disk()

    def _of_queue(self, figures: QueueFigures) -> Iterator[Metric]:
        if figures.durable is not None:
            text = "Redis writes to its append-only file."
            yield GaugeMetricFamily("redis_durable", text, value=figures.durable)
        age = max(age_seconds([] if figures.oldest is None else [figures.oldest]))
        for name, text, value in (
            ("workers_live", "Workers with a recent heartbeat.", figures.workers),
            ("work_queued", "Shards not fetched yet.", figures.waiting),
            ("work_oldest_queued_seconds", "Age of the shard that waits longest.", age),
        ):
            yield _queue_gauge(self._queue, name, text, value)
        if figures.last_heartbeat is not None:
            name = "worker_last_heartbeat_timestamp_seconds"
            text = "Time of the last heartbeat of a worker."
            yield _queue_gauge(self._queue, name, text, figures.last_heartbeat)

    def _of_disk(self) -> Iterator[Metric]:
        with suppress(OSError):
            disk = self._queue.disk()
            for name, text, value in (
                (
                    "job_disk_free_bytes",
                    "Free bytes on the disk of the runs.",
                    disk.free,
                ),
                ("job_disk_size_bytes", "Size of the disk of the runs.", disk.size),
                (
                    "job_disk_needed_bytes",
                    "Free bytes below which jobs are refused (MIN_FREE_MIB).",
                    disk.needed,
                ),
            ):
                yield GaugeMetricFamily(name, text, value=value)

    def _read_figures(self) -> QueueFigures | None:
        try:
            return self._queue.queue_figures(_REDIS_SECONDS)
        except QueueUnavailableError:
            return None

    def _read_takes_work(self) -> bool:
        try:
            self._queue.ping(_REDIS_SECONDS)
        except QueueUnavailableError:
            return False
        return True


class ModelMetrics:
    """Every version of the served models: its state, and the spread in its card."""

    def __init__(self, catalog: Catalog) -> None:
        """Read *catalog*, as far as the model server answers in time."""
        self._catalog = catalog
        self._snapshot = Cached(self._read)
        self._cards: dict[_Version, ModelCard | None] = {}

    def collect(self) -> Iterator[Metric]:
        """The gauges; while the model server is away, no version is available."""
        snapshot = self._snapshot()
        if snapshot.names:
            text = "The model server answers."
            yield GaugeMetricFamily("model_server_up", text, value=snapshot.answered)
        codes = ", ".join(f"{code} {state}" for state, code in MODEL_STATES.items())
        family = GaugeMetricFamily("model_state", codes, labels=_OF_VERSION)
        for (model, version), state in snapshot.states.items():
            family.add_metric((model, str(version)), MODEL_STATES.get(state, 0))
        yield family
        yield _available(snapshot)
        yield from _validation_spreads(snapshot.cards)

    def _read(self) -> _Snapshot:
        budget = Budget(_MODEL_SERVER_SECONDS)
        names, states, answered = self._catalog.names(), {}, False
        # A failure shows as `model_server_up` 0; what was read before it is still shown.
        with suppress(KennelError):
            for name in names:
                for each in self._catalog.versions(name, budget.left()):
                    states[name, each.version] = each.state
            answered = True
            self._read_cards(states, budget)
        return _Snapshot(names, states, answered, self._cards)

    def _read_cards(self, states: dict[_Version, str], budget: Budget) -> None:
        # Once for each version, also if it has none: a scrape is no load.
        loaded = [key for key, state in states.items() if state == AVAILABLE]
        cards = {key: self._cards[key] for key in loaded if key in self._cards}
        for key in loaded:
            if key not in cards:
                cards[key] = self._catalog.published_card(*key, budget.left())
        self._cards = cards


@dataclass(frozen=True)
class _Snapshot:
    names: tuple[str, ...]
    states: dict[_Version, str]
    answered: bool
    cards: dict[_Version, ModelCard | None]


def _available(snapshot: _Snapshot) -> Metric:
    states = snapshot.states.items()
    loaded = Counts(model for (model, _), state in states if state == AVAILABLE)
    text = "Versions of a model that can answer."
    family = GaugeMetricFamily("model_versions_available", text, labels=("model",))
    for name in snapshot.names:
        family.add_metric((name,), loaded[name])
    return family


def _validation_spreads(cards: dict[_Version, ModelCard | None]) -> Iterator[Metric]:
    scores, labels = (
        GaugeMetricFamily(
            f"model_validation_{what}s",
            f"Validation photos of the card, by {what}.",
            labels=(*_OF_VERSION, name),
        )
        for what, name in (("score", "bin"), ("label", "label"))
    )
    for (model, version), card in sorted(cards.items()):
        if card is None or card.validation_spread is None:
            continue
        key, spread = (model, str(version)), card.validation_spread
        for name, count in zip(BIN_NAMES, spread.scores, strict=True):
            scores.add_metric((*key, name), count)
        if len(card.labels) <= WATCHED_LABELS:
            for name, count in zip(card.labels, spread.labels, strict=True):
                labels.add_metric((*key, name), count)
    yield scores
    yield labels


class ProcessMetrics:
    """Kennel's version, and the memory of all processes of the service."""

    def __init__(self, folder: Path | None) -> None:
        """Find the processes by their files in *folder*; None: this process alone."""
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


def _queue_gauge(queue: JobQueue, name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text, labels=_QUEUE)
    family.add_metric((queue.name,), value)
    return family


def age_seconds(moments: Iterable[float]) -> list[float]:
    """Seconds since each of *moments*, times since the epoch; [0] if there are none.

    A moment in the future, of a clock that goes ahead, is now.
    """
    now = time.time()
    return [max(now - moment, 0.0) for moment in moments] or [0.0]
