"""``job_*`` and ``jobs_*``: read from the run directories when somebody asks.

Run directories tell states; counters want events. So what was seen of each job is kept,
and what is new is counted, by whichever process looks first: a retried job does not
take its failure back, and images that are worked on again count again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter as Counted
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from service.observation.metrics.ages import age_seconds
from service.observation.metrics.buckets import JOB_SECONDS
from service.observation.metrics.recent import FRESH_SECONDS, Recent
from service.observation.metrics.seen_jobs import NOTHING_SEEN, SeenJob, SeenJobs
from worker.queue import STATES, JobFigures, JobQueue

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
