"""How far a job is, counted from the files of its run and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.artefacts import Summary, summarise
from worker.manifest import MAX_NAMED
from worker.pace import Step, images_per_second
from worker.run import Run


@dataclass(frozen=True)
class Progress:
    """What is done of a job.

    Attributes:
        done: images whose shard is finished, unreadable ones included.
        files: id, file, code and detail of the first hundred unreadable ones.
        speed: images a second; None while nothing tells it.
    """

    done: int
    unreadable: int
    files: tuple[dict[str, str], ...]
    speed: float | None = None


def read_progress(run: Run, ending: dict[str, Any]) -> Progress:
    """How far *run* is; *ending* is what its end says, empty if there is none.

    Raises:
        NotFoundError: the manifest cannot be read.
    """
    return _reported(run.manifest.total, ending) or _counted(run)


def _reported(total: int, ending: dict[str, Any]) -> Progress | None:
    # The report says in one file what a thousand shards would.
    try:
        files = tuple(ending["unreadable_files"])
        speed = ending.get("images_per_second")
        return Progress(total, ending["unreadable"], files, speed)
    except KeyError:
        return None


def _counted(run: Run) -> Progress:
    summaries = _summaries(run)
    unreadable = [row for each in summaries for row in each.unreadable]
    return Progress(
        sum(each.images for each in summaries),
        len(unreadable),
        tuple(row.error_json() for row in unreadable[:MAX_NAMED]),
        _speed(run, summaries),
    )


def _summaries(run: Run) -> list[Summary]:
    paths = sorted((run.folder / "shards").glob("[0-9]*.json"))
    return [summary for path in paths if (summary := summarise(path)) is not None]


def _speed(run: Run, summaries: list[Summary]) -> float | None:
    try:
        begun = run.start.stat().st_mtime
    except OSError:
        return None
    steps = (Step(each.written, each.images) for each in summaries)
    return images_per_second(steps, begun)
