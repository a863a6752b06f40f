"""From a run's artefacts to its end: one CSV and a report, or a reason.

Every image must be there exactly once; a damaged artefact is worked again first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from worker.artefacts import Row, load_artefact
from worker.manifest import MAX_NAMED, Manifest
from worker.request import FAIL
from worker.run import Run, now
from worker.submission import raw_probabilities, render_csv


def assemble_run(run: Run) -> list[int]:
    """Finish *run*, or fail it where its images do not allow a CSV.

    Returns the shards that are missing or whose artefact was damaged and is removed:
    they have to run (again) first, and nothing was written.

    Raises:
        NotFoundError: the manifest cannot be read.
        OSError: the disk is full or read-only.
    """
    manifest = run.manifest
    rows, broken = _collect(run, manifest)
    if broken:
        for number in broken:
            run.shard_path(number).unlink(missing_ok=True)
        return broken
    unreadable = [row for row in rows if row.unreadable]
    if unreadable and manifest.request.on_unreadable == FAIL:
        run.fail(_explain(unreadable), [row.file for row in unreadable])
        return []
    text = render_csv(rows, manifest.request)
    run.finish(text, _report(run, manifest, unreadable, text))
    return []


def broken_shards(run: Run, *, with_unreadable: bool) -> list[int]:
    """Shards whose artefact is there but damaged, or holds an unreadable image.

    Raises:
        NotFoundError: the manifest cannot be read.
    """
    manifest, items = run.manifest, run.items()
    broken = []
    for number in sorted(set(range(manifest.shard_count)) - set(run.missing_shards())):
        start, stop = manifest.shard_bounds(number)
        classes = len(manifest.request.labels)
        rows = load_artefact(run.shard_path(number), items[start:stop], classes)
        if rows is None or (with_unreadable and any(row.unreadable for row in rows)):
            broken.append(number)
    return broken


def unclipped_rows(run: Run) -> dict[str, tuple[float, ...]]:
    """Probabilities by id, in manifest order; the prior where there are none.

    Raises:
        NotFoundError: the manifest cannot be read.
    """
    manifest = run.manifest
    rows, _ = _collect(run, manifest)
    return {row.id: raw_probabilities(row, manifest.request) for row in rows}


def _collect(run: Run, manifest: Manifest) -> tuple[list[Row], list[int]]:
    items, classes = run.items(), len(manifest.request.labels)
    rows: list[Row] = []
    broken = []
    for number in range(manifest.shard_count):
        start, stop = manifest.shard_bounds(number)
        loaded = load_artefact(run.shard_path(number), items[start:stop], classes)
        if loaded is None:
            broken.append(number)
        else:
            rows.extend(loaded)
    return rows, broken


def _explain(unreadable: Sequence[Row]) -> str:
    named = "; ".join(f"{row.file}: {row.detail}" for row in unreadable[:MAX_NAMED])
    more = len(unreadable) - MAX_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    return (
        f"{len(unreadable)} files cannot be read as images ({named}{rest}): replace "
        "them and retry the job, or submit with on_unreadable=prior"
    )


def _report(
    run: Run, manifest: Manifest, unreadable: Sequence[Row], text: str
) -> dict[str, Any]:
    request = manifest.request
    moment, started = now(), run.started() or manifest.created
    taken = datetime.fromisoformat(moment) - datetime.fromisoformat(started)
    seconds = max(taken.total_seconds(), 0.001)
    return {
        "schema": 1,
        "job": run.id,
        "model": request.model,
        "version": request.version,
        "labels": request.labels,
        "input": request.input,
        "format": request.format,
        "clip": request.clip,
        "on_unreadable": request.on_unreadable,
        "images": manifest.total,
        "unreadable": len(unreadable),
        "unreadable_files": [row.error_json() for row in unreadable],
        "ignored": manifest.ignored_count,
        "ignored_files": manifest.ignored,
        "created": manifest.created,
        "started": started,
        "seconds": round(seconds, 3),
        "images_per_second": round(manifest.total / seconds, 2),
        "csv_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
