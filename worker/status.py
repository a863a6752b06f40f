"""What a job's status says, derived from its run directory alone."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from worker.artefacts import Summary, summarise
from worker.manifest import MAX_NAMED
from worker.pace import Step, images_per_second
from worker.run import Run, no_such_job

STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class JobStatus:
    """One job as its owner sees it.

    Attributes:
        state: queued, running, succeeded, failed or cancelled.
        done: images whose shard is finished, unreadable ones included.
        images_per_second: of the last minute while it runs, of all when it succeeded.
        eta_seconds: at that speed; None while nothing tells it.
        unreadable_files: id, file, code and detail of the first hundred.
    """

    id: str
    state: str
    model: str
    version: int
    input: str
    format: str
    clip: float | None
    priority: str
    done: int
    total: int
    unreadable: int
    images_per_second: float | None
    eta_seconds: float | None
    created: str
    finished: str | None
    error: str | None
    unreadable_files: tuple[dict[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """The status as the HTTP API answers it."""
        content = dataclasses.asdict(self)
        names = ("done", "total", "unreadable")
        progress = {name: content.pop(name) for name in names}
        content["unreadable_files"] = list(self.unreadable_files)
        return {**content, "progress": progress}


def read_status(run: Run) -> JobStatus:
    """The status of *run* now.

    Raises:
        NotFoundError: its manifest cannot be read, or it was deleted.
    """
    for state, path in _ends(run):
        try:
            return _ended_status(run.folder, state, path.stat().st_mtime_ns)
        except OSError:
            continue
    status = _status(run, "", {})
    if run.is_gone:
        raise no_such_job(run.id)
    return status


def read_state(run: Run) -> str:
    """The state alone, of a run that may have been deleted meanwhile."""
    for state, path in _ends(run):
        if path.exists():
            return state
    begun = run.start.exists() or any((run.folder / "shards").glob("[0-9]*.json"))
    return "running" if begun else "queued"


def _ends(run: Run) -> tuple[tuple[str, Path], ...]:
    return (
        ("succeeded", run.report),
        ("cancelled", run.cancellation),
        ("failed", run.failure),
    )


@lru_cache(maxsize=512)
def _ended_status(folder: Path, state: str, _ended_ns: int) -> JobStatus:
    # A run that is over does not change, unless it is retried: then its end is another.
    run = Run(folder)
    ending = _read(dict(_ends(run))[state])
    return _status(run, state, ending)


def _status(run: Run, state: str, ending: dict[str, Any]) -> JobStatus:
    manifest, request = run.manifest, run.manifest.request
    counts = _reported(manifest.total, ending) or _counted(run)
    state = state or ("running" if counts.done or run.start.exists() else "queued")
    speed = ending.get("images_per_second") or counts.speed
    eta = (
        (manifest.total - counts.done) / speed if speed and state == "running" else None
    )
    return JobStatus(
        id=run.id,
        state=state,
        model=request.model,
        version=request.version,
        input=request.input,
        format=request.format,
        clip=request.clip,
        priority=request.priority,
        done=counts.done,
        total=manifest.total,
        unreadable=counts.unreadable,
        images_per_second=None if speed is None else round(speed, 2),
        eta_seconds=None if eta is None else round(eta, 1),
        created=manifest.created,
        finished=ending.get("finished"),
        error=ending.get("reason"),
        unreadable_files=counts.files,
    )


@dataclass(frozen=True)
class _Counts:
    done: int
    unreadable: int
    files: tuple[dict[str, str], ...]
    speed: float | None = None


def _reported(total: int, ending: dict[str, Any]) -> _Counts | None:
    # The report says in one file what a thousand shards would.
    try:
        return _Counts(total, ending["unreadable"], tuple(ending["unreadable_files"]))
    except KeyError:
        return None


def _counted(run: Run) -> _Counts:
    summaries = _summaries(run)
    unreadable = [row for each in summaries for row in each.unreadable]
    return _Counts(
        sum(each.images for each in summaries),
        len(unreadable),
        tuple(row.error_json() for row in unreadable[:MAX_NAMED]),
        _speed(run, summaries),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Retried at this moment, or damaged: the marker alone tells the state.
        return {}
    return content if isinstance(content, dict) else {}


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
