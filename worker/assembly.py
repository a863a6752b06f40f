"""From a run's artefacts to its end: one CSV and a report, or a reason.

Every image must be there exactly once; a damaged artefact is worked again first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from worker.artefacts import Row
from worker.csv_draft import drafted_csv
from worker.manifest import MAX_NAMED
from worker.report import make_report
from worker.request import FAIL, FEW_UNREADABLE, MAX_UNREADABLE
from worker.run import Run
from worker.run_items import shard_rows
from worker.sources.results import Results
from worker.submission import csv_lines, raw_probabilities
from worker.survey import Survey


def assemble_run(run: Run, results: Results | None = None) -> list[int]:
    """Finish *run*, or fail it where its images do not allow a CSV.

    Its CSV and report are copied to *results* before they count.

    Returns the shards that are missing or whose artefact was damaged and is removed:
    they have to run (again) first, and nothing was written.

    Raises:
        NotFoundError: the manifest cannot be read.
        OSError: the disk is full or read-only.
        StorageUnavailableError: the results' storage was away for too long.
    """
    request, survey = run.manifest.request, Survey(run)
    with drafted_csv(run.csv, csv_lines(survey.rows(), request)) as draft:
        if survey.broken:
            for number in survey.broken:
                run.shard_path(number).unlink(missing_ok=True)
            return survey.broken
        if reason := _why_no_csv(run, survey.unreadable):
            run.fail(reason, [row.file for row in survey.unreadable])
            return []
        report = make_report(run, survey, draft.sha256)
        if results is None:
            run.finish(draft.path, report)
        else:
            address = {"results": results.address(run.id)}
            run.finish(draft.path, report | address, partial(results.keep, run.id))
    return []


def broken_shards(run: Run) -> list[int]:
    """Shards to be worked again by a retry: their artefact is there but damaged.

    If the unreadable images of *run* are too many for a CSV, those that hold one too.

    Raises:
        NotFoundError: the manifest cannot be read.
        OSError: the disk cannot be read now.
    """
    broken, unreadable = set[int](), dict[int, int]()
    for number in set(range(run.manifest.shard_count)) - set(run.missing_shards()):
        rows = shard_rows(run, number)
        if rows is None:
            broken.add(number)
        elif count := sum(row.unreadable for row in rows):
            unreadable[number] = count
    if sum(unreadable.values()) > run.manifest.max_unreadable:
        broken |= unreadable.keys()
    return sorted(broken)


def unclipped_rows(run: Run) -> dict[str, tuple[float, ...]]:
    """Probabilities by id, in manifest order; the prior where there are none.

    Raises:
        NotFoundError: the manifest cannot be read.
    """
    request = run.manifest.request
    return {row.id: raw_probabilities(row, request) for row in Survey(run).rows()}


def _why_no_csv(run: Run, unreadable: Sequence[Row]) -> str | None:
    request, total = run.manifest.request, run.manifest.total
    if len(unreadable) <= run.manifest.max_unreadable:
        return None
    named = "; ".join(f"{row.file}: {row.detail}" for row in unreadable[:MAX_NAMED])
    more = len(unreadable) - MAX_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    if request.on_unreadable == FAIL:
        return (
            f"{len(unreadable)} files cannot be read as images ({named}{rest}): "
            "replace them and retry the job, or submit with on_unreadable=prior"
        )
    remedy = f"see to their folder or replace them, then retry the job ({named}{rest})"
    if len(unreadable) == total:
        return f"none of the {total:,} images can be read: {remedy}"
    allowed = run.manifest.max_unreadable
    asked = request.max_unreadable or f"{MAX_UNREADABLE}, at least {FEW_UNREADABLE}"
    return (
        f"{len(unreadable):,} of {total:,} images ({len(unreadable) / total:.1%}) cannot "
        f"be read, at most {allowed:,} may be (max_unreadable={asked}): {remedy}, or "
        "submit with a larger max_unreadable"
    )
