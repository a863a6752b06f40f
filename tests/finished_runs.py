"""Finishes a run without workers, for tests of finished jobs."""

from __future__ import annotations

from typing import Any

from worker.csv_draft import drafted_csv
from worker.run import Run


def finish_run(run: Run, csv: str, report: dict[str, Any]) -> None:
    """Let *run* have succeeded with this *csv*."""
    with drafted_csv(run.csv, [csv]) as draft:
        run.finish(draft.path, report)
