"""Overload: three times the capacity of the stack, for half a minute.

`python -m benchmarks.overload`: 32 clients that post without a pause find the capacity;
then requests come at fixed times, at half of that rate and at three times it.
`--proxy` puts the compose file's nginx in front.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.request import urlopen

import click

from benchmarks.harness.background import repeating
from benchmarks.harness.load import LoadResult, Target
from benchmarks.harness.stack import (
    resident_megabytes,
    running_proxy,
    served_stack,
    tree,
    trivial_stack,
)

CLIENTS = 32


@click.command()
@click.option("--seconds", default=30.0, show_default=True)
@click.option("--model", help="A published model instead of one that costs nothing.")
@click.option("--proxy", is_flag=True, help="Behind the compose file's nginx.")
def main(seconds: float, model: str | None, proxy: bool) -> None:
    """Print how many requests were answered and refused, and their latencies."""
    with ExitStack() as opened:
        wanted = served_stack(model) if model else trivial_stack()
        stack, target = opened.enter_context(wanted)
        url = stack.url
        if proxy:
            # All clients have one address here.
            url = opened.enter_context(running_proxy(stack, 2000))
            target = Target(target.url.replace(stack.url, url))
        api = tree(stack.pids()["api"])
        full = target.clients(CLIENTS, seconds)
        click.echo(f"{CLIENTS} clients: {full.rate:.1f} requests/s, {_quantiles(full)}")
        half = target.rate(full.rate / 2, seconds / 2)
        click.echo(f"half of that rate: {half.statuses}, {_quantiles(half)}")
        before = sum(map(resident_megabytes, api))
        with _probed(url) as probes:
            over = target.rate(3 * full.rate, seconds)
        after = sum(map(resident_megabytes, api))
        _print_overload(over, full)
        click.echo(
            f"probes meanwhile: {len(probes)} of /livez and /readyz answered, "
            f"slowest {max(probes):.0f} ms"
        )
        click.echo(f"memory of the API processes: {before:.0f} MB, then {after:.0f} MB")


def _print_overload(over: LoadResult, full: LoadResult) -> None:
    refused = over.of_status(503)
    with_pause = sum(outcome.retry_after for outcome in refused)
    worse = over.milliseconds(99) / full.milliseconds(99)
    click.echo(
        f"three times that rate: {over.statuses}, {over.rate:.1f} answered/s, "
        f"{_quantiles(over)}, {worse:.1f} times the p99 of {CLIENTS} clients"
    )
    click.echo(
        f"refused: p50 {over.milliseconds(50, 503):.1f} ms, "
        f"p99 {over.milliseconds(99, 503):.1f} ms, {with_pause} of {len(refused)} with "
        f"Retry-After; load used {over.cpu_seconds / over.seconds:.2f} cores"
    )


def _quantiles(result: LoadResult) -> str:
    return f"p50 {result.milliseconds(50):.1f} ms, p99 {result.milliseconds(99):.1f} ms"


@contextmanager
def _probed(url: str) -> Iterator[list[float]]:
    """Milliseconds of the probes that were answered with 200, twice a second."""
    taken: list[float] = []

    def probe() -> None:
        for path in ("/livez", "/readyz"):
            began = time.perf_counter()
            urlopen(url + path, timeout=10).close()
            taken.append(1000 * (time.perf_counter() - began))

    with repeating(probe, 0.5):
        yield taken


if __name__ == "__main__":
    main()
