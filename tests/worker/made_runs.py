"""Runs on the disk that no queue has."""

from __future__ import annotations

from pathlib import Path

from worker.drafts import drafted_run, publish_draft
from worker.manifest import ManifestFiles
from worker.run import Run


def create_run(runs_dir: Path, job_id: str, manifest: ManifestFiles) -> Run:
    """A new run directory, complete at once; the one that is there if there is one."""
    with drafted_run(runs_dir, job_id) as draft:
        return Run(publish_draft(draft, job_id, manifest))
