"""Requests through the stages, one after the other: two queues, first come first served.

The API is a queue with several servers, the model one whose server takes all who wait, up
to a full batch. Both are computed by Lindley's recursion (a request begins when it is there
and a server is free), so the result is exact for the given times, and no clock is needed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.capacity.stages import Stages
from benchmarks.load.outcome import percentile


@dataclass(frozen=True)
class Forecast:
    """What a load would see.

    Attributes:
        rate: requests answered a second, over the time that it takes.
        seconds: of each request, from its arrival to its answer.
        batches: sizes of the batches.
    """

    rate: float
    seconds: tuple[float, ...]
    batches: tuple[int, ...]

    def milliseconds(self, percent: float) -> float:
        """The *percent*-th percentile of the requests' latencies."""
        return 1000 * percentile(self.seconds, percent)

    @property
    def mean_batch(self) -> float:
        return sum(self.batches) / len(self.batches)


def forecast(stages: Stages, arrivals: Sequence[float]) -> Forecast:
    """What requests of one image that come at *arrivals* (seconds, sorted) would see."""
    rate = len(arrivals) / max(arrivals[-1], 1e-9)
    loaded = stages.under(rate)
    ready = _through_api(loaded, arrivals)
    done, batches = _through_model(loaded, ready)
    seconds = tuple(end - began for end, began in zip(done, arrivals, strict=True))
    return Forecast(len(done) / max(done), seconds, tuple(batches))


def _through_api(stages: Stages, arrivals: Sequence[float]) -> list[float]:
    free = [0.0] * stages.api_servers
    ready = []
    for arrival in arrivals:
        begun = max(arrival, heapq.heappop(free))
        ready.append(begun + stages.api_seconds)
        heapq.heappush(free, ready[-1])
    return ready


def _through_model(
    stages: Stages, ready: Sequence[float]
) -> tuple[list[float], list[int]]:
    # All take the same time in the API, so they are ready in the order of arrival.
    free = [0.0] * stages.batch_servers
    luck = random.Random(0)
    done: list[float] = []
    batches: list[int] = []
    while len(done) < len(ready):
        begun = max(ready[len(done)], heapq.heappop(free))
        waiting = ready[len(done) : len(done) + stages.max_batch]
        size = sum(moment <= begun for moment in waiting)
        end = begun + stages.batch(size) * luck.choice(stages.spread)
        done += [end] * size
        batches.append(size)
        heapq.heappush(free, end)
    return done, batches
