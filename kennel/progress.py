"""Progress bars on stderr: one for each stage, drawn by rich."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from export.progress import Progress as Report


@contextmanager
def progress_bars(waiting_for: str = "", *, lines: bool = True) -> Iterator[Report]:
    """A function (stage, done, total) that draws a bar for each stage on stderr.

    A bar without an end moves as long as the block lasts if *waiting_for* names what is
    going on. Without a terminal each stage leaves one line when it is complete, or none
    without *lines*. The block may print meanwhile.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console) if lines else lambda *_: None
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Results that go elsewhere must not be drawn on the terminal, above the bars.
    redirects = sys.stdout.isatty()
    with Progress(*columns, console=console, redirect_stdout=redirects) as bars:
        waiting = bars.add_task(waiting_for, total=None) if waiting_for else None
        yield _bars(bars)
        if waiting is not None:
            bars.update(waiting, total=1, completed=1)


def _bars(bars: Progress) -> Report:
    tasks: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    return report


def _lines(console: Console) -> Report:
    finished: set[str] = set()

    def report(stage: str, done: int, total: int) -> None:
        if done >= total and stage not in finished:
            finished.add(stage)
            console.print(f"{stage}: {done} of {total}", highlight=False)

    return report
