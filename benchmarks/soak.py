"""Soak test: growth of the API processes over ten thousand requests.

`python -m benchmarks.soak`: growth is counted from the first fifth on, when every
thread has worked and every buffer has its size.
"""

from __future__ import annotations

import click

from benchmarks.harness.load import Target
from benchmarks.harness.stack import (
    peak_megabytes,
    resident_megabytes,
    tree,
    trivial_stack,
)

CLIENTS = 32
_SECONDS = 2.0


@click.command()
@click.option("--requests", default=10_000, show_default=True)
def main(requests: int) -> None:
    """Print the memory of each API process before, after and at its peak."""
    with trivial_stack() as (stack, target):
        _, *workers = tree(stack.pids()["api"])
        done = _post(target, requests // 5)
        before = [resident_megabytes(pid) for pid in workers]
        done += _post(target, requests - done)
        after = [resident_megabytes(pid) for pid in workers]
        peaks = [peak_megabytes(pid) for pid in workers]
    growth = 100 * (sum(after) / sum(before) - 1)
    click.echo(
        f"{done:,} requests from {CLIENTS} clients: API processes {_list(before)} MB, "
        f"then {_list(after)} MB, growth {growth:.1f} %, peaks {_list(peaks)} MB"
    )


def _post(target: Target, requests: int) -> int:
    """Post at least *requests* photos; returns how many were posted."""
    done = 0
    while done < requests:
        done += len(target.clients(CLIENTS, _SECONDS).outcomes)
    return done


def _list(megabytes: list[float]) -> str:
    return " and ".join(f"{each:.0f}" for each in megabytes)


if __name__ == "__main__":
    main()
