"""Copies of finished jobs' results, in <place>/<job>/: the CSV, then the report.

As in the run directory, a CSV counts once its report is there.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from models.files import open_atomically, write_atomically
from worker.sources.store import ObjectStore

CSV: Final = "submission.csv"
REPORT: Final = "report.json"


class Results(Protocol):
    """A place for copies of results."""

    def address(self, job_id: str) -> str:
        """Where a job's copies are, as a URL."""

    def keep(self, job_id: str, csv: Path, report: str) -> None:
        """Write or replace a job's CSV, a copy of the file *csv*, and its report.

        Raises:
            StorageUnavailableError: the storage is away, or refuses.
            OSError: the disk is full or read-only.
        """


@dataclass(frozen=True)
class LocalResults:
    """Results below a local folder."""

    path: Path

    def address(self, job_id: str) -> str:
        """As `Results.address`."""
        return f"{(self.path / job_id).as_uri()}/"

    def keep(self, job_id: str, csv: Path, report: str) -> None:
        """As `Results.keep`."""
        folder = self.path / job_id
        folder.mkdir(parents=True, exist_ok=True)
        with csv.open("rb") as made, open_atomically(folder / CSV) as kept:
            shutil.copyfileobj(made, kept)
        write_atomically(folder / REPORT, report)


@dataclass(frozen=True)
class ObjectResults:
    """Results in object storage."""

    url: str
    store: ObjectStore

    def address(self, job_id: str) -> str:
        """As `Results.address`."""
        return f"{self.url.rstrip('/')}/{job_id}/"

    def keep(self, job_id: str, csv: Path, report: str) -> None:
        """As `Results.keep`."""
        self.store.write(f"{job_id}/{CSV}", csv.read_bytes())
        self.store.write(f"{job_id}/{REPORT}", report.encode())
