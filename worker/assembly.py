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
from worker.request import FAIL
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
        unreadable = survey.unreadable
        if unreadable and request.on_unreadable == FAIL:
            run.fail(_explain(unreadable), [row.file for row in unreadable])
            return []
        report = make_report(run, survey, draft.sha256)
        if results is None:
            run.finish(draft.path, report)
        else:
            address = {"results": results.address(run.id)}
            run.finish(draft.path, report | address, partial(results.keep, run.id))
    return []


def broken_shards(run: Run, *, with_unreadable: bool) -> list[int]:
    """Shards whose artefact is there but damaged, or holds an unreadable image.

    Raises:
        NotFoundError: the manifest cannot be read.
    """
    broken = []
    present = set(range(run.manifest.shard_count)) - set(run.missing_shards())
    for number in sorted(present):
        rows = shard_rows(run, number)
        if rows is None or (with_unreadable and any(row.unreadable for row in rows)):
            broken.append(number)
    return broken


def unclipped_rows(run: Run) -> dict[str, tuple[float, ...]]:
    """Probabilities by id, in manifest order; the prior where there are none.

    Raises:
        NotFoundError: the manifest cannot be read.
    """
    request = run.manifest.request
    return {row.id: raw_probabilities(row, request) for row in Survey(run).rows()}


def _explain(unreadable: Sequence[Row]) -> str:
    named = "; ".join(f"{row.file}: {row.detail}" for row in unreadable[:MAX_NAMED])
    more = len(unreadable) - MAX_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    return (
        f"{len(unreadable)} files cannot be read as images ({named}{rest}): replace "
        "them and retry the job, or submit with on_unreadable=prior"
    )
