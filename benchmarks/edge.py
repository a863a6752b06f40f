"""The edge: the cost of a request besides the model, with a trivial model.

`python -m benchmarks.edge`: 32 clients post one 500x375 JPEG each to two API processes.
The floor is decoding, resizing and averaging that photo, without any server.
"""

from __future__ import annotations

import statistics

import click

from benchmarks.harness.baselines import floor_milliseconds
from benchmarks.harness.stack import cpu_seconds, peak_megabytes, tree, trivial_stack

CLIENTS = 32


@click.command()
@click.option("--seconds", default=20.0, show_default=True)
def main(seconds: float) -> None:
    """Print requests/s and processor time a request, beside the floor."""
    floors = [floor_milliseconds()]
    with trivial_stack() as (stack, target):
        api = tree(stack.pids()["api"])
        spent = cpu_seconds(api)
        result = target.clients(CLIENTS, seconds)
        spent = cpu_seconds(api) - spent
        peak = max(map(peak_megabytes, api))
    floors.append(floor_milliseconds())
    floor = statistics.mean(floors)
    cost = 1000 * spent / len(result.outcomes)
    click.echo(f"floor: {floors[0]:.2f} and {floors[1]:.2f} ms of one core a photo")
    click.echo(
        f"{CLIENTS} clients: {result.rate:.1f} requests/s, p50 "
        f"{result.milliseconds(50):.1f} ms, p99 {result.milliseconds(99):.1f} ms; "
        f"load used {result.cpu_seconds / result.seconds:.2f} cores"
    )
    click.echo(
        f"API processes: {cost:.2f} ms of processor time a request, {cost / floor:.2f} "
        f"times the floor; largest process {peak:.0f} MB at its peak"
    )


if __name__ == "__main__":
    main()
