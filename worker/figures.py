"""What monitoring needs to know of all jobs; cheap to ask again every few seconds.

A job that is over does not change, unless it is retried: its figures are kept for as
long as the marker of its end is the same file.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from models.errors import NotFoundError
from models.files import parse_json
from worker.run import Run
from worker.runs import all_runs
from worker.status import read_status

_log = logging.getLogger("kennel.queue")


@dataclass(frozen=True)
class JobFigures:
    """One job; times are seconds since the epoch.

    Attributes:
        state: queued, running, succeeded, failed or cancelled.
        done: images whose shard is finished, unreadable ones included.
        started: when its first shard began (again, after a retry); None if none has.
        progressed: when a shard was finished last, or work began (again); None for a
            job that is queued or over.
        ended: None while it is queued or running.
    """

    id: str
    state: str
    done: int
    unreadable: int
    created: float
    started: float | None
    ended: float | None
    progressed: float | None = None


def read_figures(runs_dir: Path) -> list[JobFigures]:
    """The figures of every job in *runs_dir* whose manifest can be read."""
    found = []
    for run in all_runs(runs_dir):
        try:
            found.append(_of_run(run))
        except NotFoundError as error:
            _log.debug("run %s has no figures: %s", run.id, error)
    return found


def _of_run(run: Run) -> JobFigures:
    for marker in (run.report, run.cancellation, run.failure):
        try:
            ended_ns = marker.stat().st_mtime_ns
        except OSError:
            continue
        return _of_ended_run(run.folder, marker, ended_ns)
    return _figures(run, None)


@lru_cache(maxsize=16_384)
def _of_ended_run(folder: Path, marker: Path, ended_ns: int) -> JobFigures:
    run, ended = Run(folder), ended_ns / 1e9
    return _reported(run, ended) if marker == run.report else _figures(run, ended)


def _reported(run: Run, ended: float) -> JobFigures:
    # The report says in one file what a thousand shards would.
    try:
        unreadable = parse_json(run.report.read_text(encoding="utf-8"))["unreadable"]
    except (OSError, ValueError, LookupError, TypeError):
        return _figures(run, ended)
    manifest = run.manifest
    return JobFigures(
        id=run.id,
        state="succeeded",
        done=manifest.total,
        unreadable=int(unreadable),
        created=_seconds(manifest.created),
        started=_started(run),
        ended=ended,
    )


def _figures(run: Run, ended: float | None) -> JobFigures:
    status = read_status(run)
    started = _started(run)
    return JobFigures(
        id=run.id,
        state=status.state,
        done=status.done,
        unreadable=status.unreadable,
        created=_seconds(status.created),
        started=started,
        ended=ended,
        progressed=_progressed(run, started) if status.state == "running" else None,
    )


def _progressed(run: Run, started: float | None) -> float | None:
    moments = [] if started is None else [started]
    for artefact in (run.folder / "shards").glob("[0-9]*.json"):
        # Removed at this moment: the job is retried or deleted.
        with suppress(OSError):
            moments.append(artefact.stat().st_mtime)
    return max(moments, default=None)


def _started(run: Run) -> float | None:
    started = run.started()
    return _seconds(started) if started else None


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
