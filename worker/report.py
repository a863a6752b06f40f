"""What ``report.json`` says of a job that succeeded: what was asked, done, and lost."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from models import VERSION
from models.files import parse_json
from worker.artefacts import read_seconds
from worker.attempts import count_attempts
from worker.manifest import Manifest
from worker.run import Run
from worker.run_folder import now
from worker.scores import distribution
from worker.survey import Survey

SCHEMA: Final = 2
"""1 had neither timing of shards nor attempts, card, ids_sha256 and scores."""


def make_report(run: Run, survey: Survey, csv_sha256: str) -> dict[str, Any]:
    """The report of *run*, whose rows *survey* saw; `Run.finish` adds the moment."""
    manifest, unreadable = run.manifest, survey.unreadable
    return {
        "schema": SCHEMA,
        "kennel": VERSION,
        "job": run.id,
        **_asked(manifest),
        "images": manifest.total,
        "unreadable": len(unreadable),
        "unreadable_files": [row.error_json() for row in unreadable],
        "ignored": manifest.ignored_count,
        "ignored_files": manifest.ignored,
        **_timing(run, manifest),
        "shards": _shards(run, manifest),
        "attempts": dict(
            zip(("begun", "broken_off"), count_attempts(run), strict=True)
        ),
        **distribution(survey.scores(), manifest.request.labels),
        "card": _card(run),
        "ids_sha256": survey.ids_sha256,
        "csv_sha256": csv_sha256,
    }


def _asked(manifest: Manifest) -> dict[str, Any]:
    request = manifest.request
    return {
        "model": request.model,
        "version": request.version,
        "label": request.pinned_label,
        "labels": request.labels,
        "input": manifest.input,
        "format": request.format,
        "positive": request.written_label,
        "label_numbers": request.numbered_labels,
        "clip": request.clip,
        "on_unreadable": request.on_unreadable,
        "max_unreadable": manifest.max_unreadable,
    }


def _timing(run: Run, manifest: Manifest) -> dict[str, Any]:
    started = run.started() or manifest.created
    seconds = max(_seconds_between(started, now()), 0.001)
    return {
        "created": manifest.created,
        "started": started,
        "queued_seconds": round(_seconds_between(manifest.created, started), 3),
        "seconds": round(seconds, 3),
        "images_per_second": round(manifest.total / seconds, 2),
    }


def _shards(run: Run, manifest: Manifest) -> dict[str, Any]:
    numbers = range(manifest.shard_count)
    seconds = [read_seconds(run.shard_path(number)) for number in numbers]
    slowest = max(numbers, key=seconds.__getitem__)
    return {
        "count": manifest.shard_count,
        "seconds": round(sum(seconds), 3),
        "slowest": slowest,
        "slowest_seconds": seconds[slowest],
    }


def _card(run: Run) -> dict[str, Any] | None:
    try:
        card: dict[str, Any] = parse_json(run.card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Of a job that was submitted without one; nothing else depends on it.
        return None
    return {**card, "metrics": _without_tables(card.get("metrics", {}))}


def _without_tables(metrics: Any) -> Any:
    # A confusion matrix of 1,000 labels would be most of the report.
    if not isinstance(metrics, dict):
        return metrics
    kept = {name: each for name, each in metrics.items() if not isinstance(each, list)}
    return {name: _without_tables(each) for name, each in kept.items()}


def _seconds_between(first: str, second: str) -> float:
    taken = datetime.fromisoformat(second) - datetime.fromisoformat(first)
    return taken.total_seconds()
