"""Capacity: a queueing model compared with measurements, or a table for any machine.

`python -m benchmarks.capacity`: three loads on a network of known times, forecast and measured.
`python -m benchmarks.capacity table --api-ms 8 --batch-ms 5 --image-ms 60`: the table.
"""

from __future__ import annotations

import heapq
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import click
import numpy as np

from benchmarks.harness.load import LoadResult, Target, percentile, random_arrivals
from benchmarks.harness.stack import CARD, cpu_seconds, stack_of, tree
from kennel.stack.local_stack import LocalStack
from models.environment import usable_processors
from models.networks.runtime import start_tensorflow
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef
from service.settings import ServiceSettings

LOADS = (0.4, 0.7, 0.9)
"""Of the capacity that the model predicts."""

TABLE_LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@click.group(invoke_without_command=True)
@click.option("--seconds", default=15.0, show_default=True, help="Of each load.")
@click.pass_context
def main(context: click.Context, seconds: float) -> None:
    """Print forecast and measurement of three loads, each just after a calibration."""
    if context.invoked_subcommand is not None:
        return
    with stack_of(publish_timed_model) as (stack, target, model):
        for load in LOADS:
            # The machine's speed drifts: each load has its own calibration.
            stages = calibrate(stack, target, model)
            rate = load * stages.capacity
            measured = target.independent(rate, seconds)
            _print_stages(stages)
            expected = forecast(stages, random_arrivals(rate, seconds))
            _print_comparison(load, rate, expected, measured)


@main.command
@click.option("--api-ms", type=float, required=True, help="Outside the model server.")
@click.option("--api-processes", default=2, show_default=True)
@click.option("--batch-ms", type=float, required=True, help="Of a batch by itself.")
@click.option("--image-ms", type=float, required=True, help="Of an image in a batch.")
@click.option("--max-batch", default=32, show_default=True)
@click.option("--replicas", default=1, help="Model servers, as if behind one queue.")
def table(
    api_ms: float,
    api_processes: int,
    batch_ms: float,
    image_ms: float,
    max_batch: int,
    replicas: int,
) -> None:
    """Print the forecast for independent clients at several loads."""
    times = (api_ms / 1000, api_processes, batch_ms / 1000, image_ms / 1000)
    stages = Stages(*times, max_batch=max_batch, batch_servers=replicas)
    _print_stages(stages)
    click.echo("load   requests/s   mean batch   p50 ms   p99 ms")
    for load in TABLE_LOADS:
        rate = load * stages.capacity
        expected = forecast(stages, random_arrivals(rate, 20_000 / rate))
        click.echo(
            f"{load:4.2f} {rate:12.1f} {expected.mean_batch:12.1f} "
            f"{expected.milliseconds(50):8.0f} {expected.milliseconds(99):8.0f}"
        )


def _print_stages(stages: Stages) -> None:
    batch, image = 1000 * stages.batch_seconds, 1000 * stages.image_seconds
    click.echo(
        f"API {1000 * stages.api_seconds:.1f} ms in {stages.api_servers} processes; "
        f"a batch {batch:.2f} ms and {image:.2f} ms an image: at most "
        f"{stages.capacity:.1f} requests/s"
    )


def _print_comparison(
    load: float, rate: float, expected: Forecast, measured: LoadResult
) -> None:
    click.echo(f"load {load:.2f}, {rate:.1f} requests/s, {measured.statuses}")
    rows = [("requests/s", expected.rate, measured.rate)]
    rows += [
        (
            f"p{percent} ms",
            expected.milliseconds(percent),
            measured.milliseconds(percent),
        )
        for percent in (50, 90, 99)
    ]
    for name, foreseen, seen in rows:
        error = foreseen / seen - 1
        click.echo(
            f"  {name:11} {foreseen:8.1f} forecast {seen:8.1f} measured {error:+.0%}"
        )


@dataclass(frozen=True)
class Stages:
    """The service times of a deployment's stages, when nothing else runs.

    Attributes:
        api_seconds: of a request outside the model server.
        api_servers: concurrent requests in the API, one a process: Python runs one
            thread at a time.
        batch_seconds: fixed time of a batch.
        image_seconds: additional time of each image in a batch.
        max_batch: images in a batch.
        batch_servers: concurrent batches: threads times replicas.
        spread: measured times of batches, relative to the times above; drawn at random.
        other_cpu_seconds: processor time of a request on the model's cores (by the API
            on the same machine, and here by the load).
        cores: the cores that they share.
    """

    api_seconds: float
    api_servers: int
    batch_seconds: float
    image_seconds: float
    max_batch: int = 32
    batch_servers: int = 1
    spread: tuple[float, ...] = (1.0,)
    other_cpu_seconds: float = 0.0
    cores: int = 1

    def batch(self, size: int) -> float:
        """Seconds of a batch of *size* images."""
        return self.batch_seconds + size * self.image_seconds

    @property
    def model_capacity(self) -> float:
        """Images/s of the model in full batches, on cores of its own."""
        mean = self.batch(self.max_batch) * sum(self.spread) / len(self.spread)
        return self.batch_servers * self.max_batch / mean

    @property
    def capacity(self) -> float:
        """Requests/s of one image that all stages together can sustain."""
        model = 1 / self.model_capacity + self.other_cpu_seconds / self.cores
        return 1 / max(model, self.api_seconds / self.api_servers)

    def under(self, rate: float) -> Self:
        """The stages at *rate* requests/s, beside other work on the same cores.

        Never less than a hundredth is left, so that overload stays finite.
        """
        left = max(1 - rate * self.other_cpu_seconds / self.cores, 0.01)
        return replace(
            self,
            batch_seconds=self.batch_seconds / left,
            image_seconds=self.image_seconds / left,
        )


@dataclass(frozen=True)
class Forecast:
    """The predicted result of a load.

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
    """The forecast for requests of one image at *arrivals* (seconds, sorted)."""
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
    # All requests take the same time in the API, so their order stays.
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


SIZES = (1, 2, 4, 8)
"""Larger batches fit the same line, and take long on a small machine."""

CALLS = 6
SINGLE_SECONDS = 4.0


def calibrate(stack: LocalStack, target: Target, model: str) -> Stages:
    """Measure the stages of *stack* with *model*."""
    calls = _batch_seconds(stack.model_server, model)
    medians = {size: statistics.median(taken) for size, taken in calls.items()}
    fixed, each = _line(medians)
    api = tree(stack.pids()["api"])
    spent = cpu_seconds(api)
    single = target.clients(1, SINGLE_SECONDS)
    requests = len(single.outcomes)
    spent = (cpu_seconds(api) - spent) / requests
    alone = single.milliseconds(50) / 1000
    return Stages(
        api_seconds=max(alone - medians[1], spent),
        api_servers=ServiceSettings.web_workers,
        batch_seconds=fixed,
        image_seconds=each,
        # A noisy machine's calls vary, and the slow ones make the queue.
        spread=tuple(
            seconds / (fixed + size * each)
            for size, taken in calls.items()
            for seconds in taken
        ),
        other_cpu_seconds=spent + single.cpu_seconds / requests,
        cores=usable_processors(),
    )


def _batch_seconds(server: str, model: str) -> dict[int, list[float]]:
    """Seconds of the calls with each batch size, transport included."""
    seconds = {}
    with ModelServerClient(server, timeout_seconds=120) as client:
        size = client.describe(ModelRef(model)).image_size
        for count in SIZES:
            pixels = np.zeros((count, *size, 3), np.uint8)
            taken = []
            for _ in range(CALLS):
                began = time.perf_counter()
                client.predict(pixels, ModelRef(model))
                taken.append(time.perf_counter() - began)
            seconds[count] = taken
    return seconds


def _line(batches: dict[int, float]) -> tuple[float, float]:
    """Fixed seconds, and seconds an image, that fit *batches* best.

    The fit minimises relative errors: otherwise only the largest batch would count.
    """
    sizes = np.array(list(batches), float)
    taken = np.array(list(batches.values()))
    design = np.stack([np.ones_like(sizes), sizes], axis=1) / taken[:, None]
    (fixed, each), *_ = np.linalg.lstsq(design, np.ones_like(taken))
    if fixed < 0:
        return 0.0, float(np.median(taken / sizes))
    return float(fixed), float(each)


BATCH_MS: Final = 20
IMAGE_MS: Final = 30
"""As a network of 15 GFLOP on 2 cores: slower than the API's limit for gathering."""

TIMED: Final = replace(CARD, name="timed", network="waits")


def publish_timed_model(models_dir: Path) -> str:
    """Publish a model that waits like a network in *models_dir*; its name."""
    start_tensorflow()
    import keras

    from export.publication.savedmodel import write_savedmodel
    from export.training.classifier import single

    class Wait(keras.layers.Layer):  # type: ignore[misc] # untyped
        def call(self, pixels: Any) -> Any:
            return pixels + _after_waiting(pixels)

    pixels = keras.Input((*TIMED.image_size, 3))
    mean = keras.layers.GlobalAveragePooling2D()(Wait()(pixels))
    classifier = keras.Model(pixels, keras.layers.Dense(2)(mean))
    folder = models_dir / TIMED.name
    folder.mkdir(parents=True)
    write_savedmodel(single(classifier), TIMED, folder / str(TIMED.version))
    return TIMED.name


def _after_waiting(pixels: Any) -> Any:
    """Zero, as late as a network would have its answer."""
    import tensorflow as tf
    from tensorflow.python.data.experimental.ops import testing

    images = tf.cast(tf.shape(pixels)[0], tf.int64)
    # The data set waits twice: for its element, and for its end.
    micros = 500 * (BATCH_MS + images * IMAGE_MS)
    one = tf.data.Dataset.from_tensors(0.0).apply(testing.sleep(micros))
    return one.reduce(0.0, lambda total, each: total + each)


if __name__ == "__main__":
    main()
