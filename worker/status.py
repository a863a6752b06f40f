"""What a job's status says, derived from its run directory alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from models.files import parse_json
from worker.absence import read_absence
from worker.progress import read_progress
from worker.run import Run
from worker.run_folder import no_such_job

STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class JobStatus:
    """One job as its owner sees it.

    Attributes:
        state: queued, running, succeeded, failed or cancelled.
        owner: name of the API key that submitted it; None: the API was open.
        label: the label by which the version was asked for; None: by none.
        positive: whose probability the CSV has; None: its format has all.
        label_numbers: labels whose numbers, from 0, the CSV has; None: it has none.
        done: images whose shard is finished, unreadable ones included.
        ignored: files and folders of the input that are no photos.
        max_unreadable: with more unreadable images the job fails.
        images_per_second: of the last minute while it runs, of all when it succeeded.
        eta_seconds: at that speed; None while nothing tells it.
        waiting: why its model or its photos keep it waiting; None while nothing does.
        unreadable_files: id, file, code and detail of the first hundred.
    """

    id: str
    state: str
    model: str
    version: int
    label: str | None
    input: str
    format: str
    positive: str | None
    label_numbers: tuple[str, ...] | None
    clip: float | None
    max_unreadable: int
    priority: str
    done: int
    total: int
    unreadable: int
    ignored: int
    images_per_second: float | None
    eta_seconds: float | None
    created: str
    finished: str | None
    owner: str | None
    error: str | None
    waiting: str | None
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
    progress = read_progress(run, ending)
    state = state or ("running" if progress.done or run.start.exists() else "queued")
    speed, left = progress.speed, manifest.total - progress.done
    eta = left / speed if speed and state == "running" else None
    return JobStatus(
        id=run.id,
        state=state,
        model=request.model,
        version=request.version,
        label=request.pinned_label,
        input=manifest.input,
        format=request.format,
        positive=request.written_label,
        label_numbers=request.numbered_labels,
        clip=request.clip,
        max_unreadable=manifest.max_unreadable,
        priority=request.priority,
        done=progress.done,
        total=manifest.total,
        unreadable=progress.unreadable,
        ignored=manifest.ignored_count,
        images_per_second=None if speed is None else round(speed, 2),
        eta_seconds=None if eta is None else round(eta, 1),
        created=manifest.created,
        finished=ending.get("finished"),
        owner=request.owner,
        error=ending.get("reason"),
        waiting=_waiting(run) if state in {"queued", "running"} else None,
        unreadable_files=progress.files,
    )


def _waiting(run: Run) -> str | None:
    absence = read_absence(run.folder)
    return None if absence is None else absence.reason


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Retried at this moment, or damaged: the marker alone tells the state.
        return {}
    return content if isinstance(content, dict) else {}
