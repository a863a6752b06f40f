"""A run directory: the truth about a job, which Redis only works off.

RUNS_DIR/<job>/
    manifest.json     written before anything is queued; what to do, pinned
    items.jsonl       the images of each shard, in order; items.index finds them
    started           the first shard has begun
    attempts/<what>   a line for each begun attempt, and why it broke off
    waits             its model or photos are away: why, and when they are asked again
    shards/00000.json a finished shard's rows
    photos/           what was uploaded; not there for a folder below INPUT_ROOT
    manifest.csv, sample_submission.csv      what came with the job, as it came
    card.json         the model card of the pinned version, if the submitter had it
    scores.json       what the result looks like, once somebody asked
    submission.csv    the result, complete once report.json is there
    report.json | failed.json | cancelled    how the run ended: at most one of them
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from models.errors import NotFoundError, quoted
from models.files import locked_folder, locked_folder_shared
from worker.manifest import Manifest, read_manifest


class RunFolder:
    """What lies in one run directory; cheap to make, reads when asked."""

    def __init__(self, folder: Path) -> None:
        """Look at *folder*, which holds a manifest."""
        self.folder = folder
        self.id = folder.name
        self.csv = folder / "submission.csv"
        self.report = folder / "report.json"
        self.failure = folder / "failed.json"
        self.cancellation = folder / "cancelled"
        self.start = folder / "started"
        self.attempts = folder / "attempts"
        self.absence = folder / "waits"
        self.photos = folder / "photos"
        self.scores = folder / "scores.json"
        self.card = folder / "card.json"

    @property
    def manifest(self) -> Manifest:
        """What the manifest says.

        Raises:
            NotFoundError: it cannot be read.
        """
        path = self.folder / "manifest.json"
        try:
            return _read_head(path, path.stat().st_mtime_ns)
        except OSError as error:
            raise no_such_job(self.id) from error

    @property
    def is_over(self) -> bool:
        """Whether the run succeeded, failed or was cancelled."""
        return self.ended() is not None

    def ended(self) -> float | None:
        """When the run ended, in seconds since the epoch; None if it has not."""
        for end in (self.report, self.failure, self.cancellation):
            try:
                return end.stat().st_mtime
            except OSError:
                continue
        return None

    @property
    def is_gone(self) -> bool:
        """Whether the run was deleted."""
        return not (self.folder / "manifest.json").exists()

    def shard_path(self, number: int) -> Path:
        """Where shard *number* leaves its artefact."""
        return self.folder / "shards" / f"{number:05d}.json"

    def missing_shards(self) -> list[int]:
        """Numbers of the shards that have no artefact."""
        numbers = range(self.manifest.shard_count)
        try:
            present = set(os.listdir(self.folder / "shards"))  # noqa: PTH208
        except FileNotFoundError:
            return list(numbers)
        return [each for each in numbers if f"{each:05d}.json" not in present]

    def started(self) -> str | None:
        """When work began (again, after a retry); None if it has not."""
        try:
            return self.start.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def locked(self) -> AbstractContextManager[None]:
        """One writer of a run's end at a time; a killed one lets go.

        Raises:
            NotFoundError: the run was deleted.
        """
        return self.there(locked_folder(self.folder))

    def working(self) -> AbstractContextManager[None]:
        """Nobody deletes the run while the block works on it.

        Raises:
            NotFoundError: the run was deleted.
        """
        return self.there(locked_folder_shared(self.attempts))

    @contextmanager
    def there(self, lock: AbstractContextManager[None]) -> Iterator[None]:
        """A block under *lock*, which lies in the run.

        Raises:
            NotFoundError: the run was deleted.
        """
        with ExitStack() as held:
            try:
                held.enter_context(lock)
            except FileNotFoundError as error:
                raise no_such_job(self.id) from error
            yield


def now() -> str:
    """This moment in UTC, as manifests and reports write it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def no_such_job(job_id: str) -> NotFoundError:
    """The error for an id that stands for no run."""
    message = f"there is no job {quoted(job_id)}: GET /v1/jobs lists the jobs"
    return NotFoundError(message, code="job_not_found")


@lru_cache(maxsize=1024)
def _read_head(path: Path, _mtime_ns: int) -> Manifest:
    return read_manifest(path.read_text(encoding="utf-8"))
