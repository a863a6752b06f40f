"""Capacity: the queueing model beside measurements, or for a machine that is not here.

`python -m benchmarks.capacity`: three loads on a network of known times, forecast and measured.
`python -m benchmarks.capacity table --api-ms 8 --batch-ms 5 --image-ms 60`: a table.
"""

from __future__ import annotations

import click

from benchmarks.capacity.calibration import calibrate
from benchmarks.capacity.queueing import Forecast, forecast
from benchmarks.capacity.stages import Stages
from benchmarks.capacity.timed import publish_timed_model
from benchmarks.deployment import stack_of
from benchmarks.load.arrivals import random_arrivals
from benchmarks.load.outcome import LoadResult

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
    """Print what independent clients would see at several loads."""
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


if __name__ == "__main__":
    main()
