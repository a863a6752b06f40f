"""Kennel and other servers with the same photo and load, one after the other.

`python -m benchmarks.compare edge`: two processes each, the network is a mean of pixels.
`python -m benchmarks.compare model`: the published SavedModel behind each, in one.
Peers live in `.venv-peers`; `make peers` installs them and runs both.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import click

from benchmarks.harness.baselines import BareModel, floor_milliseconds
from benchmarks.harness.load import Target
from benchmarks.harness.stack import (
    cpu_seconds,
    peak_megabytes,
    served_stack,
    settings,
    tree,
    trivial_stack,
)
from benchmarks.peers.launch import PEERS, running_peer

CLIENTS = 32

Running: TypeAlias = AbstractContextManager[tuple[list[int], Target]]
"""A running system: its first processes, and its target."""


@dataclass(frozen=True)
class Figures:
    """The figures of one system.

    Attributes:
        rate: requests/s at 32 clients.
        single: p50 in ms at one client.
        after: p50 in ms at one client within a second after the 32 clients.
        cost: ms of processor time a request, of all its processes.
        megabytes: the sum of its processes' memory peaks.
        baseline: the baseline, measured just before.
    """

    rate: float
    single: float
    after: float
    cost: float
    megabytes: float
    baseline: float


@click.group()
def main() -> None:
    """Compare Kennel with plain Flask, LitServe and BentoML."""


@main.command()
@click.option("--seconds", default=15.0, show_default=True)
def edge(seconds: float) -> None:
    """Decode, resize and average a photo; the floor is that without a server."""
    rows = _measure_all(_kennel(None), 2, None, floor_milliseconds, seconds)
    floor = statistics.mean(row.baseline for row in rows.values())
    click.echo(f"edge, two processes each; floor {floor:.2f} ms of one core a photo")
    _print(rows, "CPU/floor", {name: row.cost / floor for name, row in rows.items()})


@main.command()
@click.option("--seconds", default=15.0, show_default=True)
@click.option("--name", help="The published model; default: the first there is.")
def model(seconds: float, name: str | None) -> None:
    """Ask a published SavedModel; the baseline is its batch of 32, pixels ready."""
    bare = BareModel(settings().models_dir, name)
    speed = partial(bare.images_per_second, 32, batches=2)
    rows = _measure_all(_kennel(bare.name), 1, bare.folder, speed, seconds)
    mean = statistics.mean(row.baseline for row in rows.values())
    click.echo(f"{bare.name}; bare SavedModel at batch 32: {mean:.2f} images/s")
    _print(rows, "of bare", {name: row.rate / mean for name, row in rows.items()})


@contextmanager
def _kennel(name: str | None) -> Iterator[tuple[list[int], Target]]:
    with served_stack(name) if name else trivial_stack() as (stack, target):
        yield list(stack.pids().values()), Target(target.url, form=True)


def _measure_all(
    kennel: Running,
    workers: int,
    folder: Path | None,
    baseline: Callable[[], float],
    seconds: float,
) -> dict[str, Figures]:
    systems: dict[str, Running] = {"Kennel": kennel}
    for peer in PEERS:
        systems[peer.name] = running_peer(peer, workers, folder)
    return {
        name: _measure(running, baseline(), seconds)
        for name, running in systems.items()
    }


def _measure(running: Running, baseline: float, seconds: float) -> Figures:
    with running as (pids, target):
        single = target.clients(1, seconds / 4).milliseconds(50)
        processes = [each for pid in pids for each in tree(pid)]
        spent = cpu_seconds(processes)
        loaded = target.clients(CLIENTS, seconds)
        spent = cpu_seconds(processes) - spent
        after = target.clients(1, 1.0).milliseconds(50)
        megabytes = sum(map(peak_megabytes, processes))
    cost = 1000 * spent / len(loaded.outcomes)
    return Figures(loaded.rate, single, after, cost, megabytes, baseline)


def _print(rows: dict[str, Figures], title: str, ratios: dict[str, float]) -> None:
    own = rows["Kennel"].rate
    click.echo(
        f"{'':24} req/s  of Kennel  {title:>9}  p50 of 1  right after load  "
        "CPU a request  peak memory"
    )
    for name, row in rows.items():
        click.echo(
            f"{name:24} {row.rate:5.1f}  {row.rate / own:9.2f}  {ratios[name]:9.2f}  "
            f"{row.single:5.1f} ms  {row.after:13.1f} ms  {row.cost:10.2f} ms  "
            f"{row.megabytes:8.0f} MB"
        )


if __name__ == "__main__":
    main()
