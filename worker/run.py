"""What becomes of a run: it begins, ends with a CSV or a reason, or goes on again.

At most one end is ever there, whoever writes it, and a killed writer leaves none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from models.files import TEMPORARY_PREFIX, locked_folder, sync_path
from models.files import write_atomically as write
from worker.manifest import MAX_NAMED
from worker.run_folder import RunFolder, now

Copy: TypeAlias = Callable[[Path, str], None]
"""Keeps a finished run's CSV (a file) and report (text) somewhere else too."""


class Run(RunFolder):
    """One run and what becomes of it; cheap to make, reads when asked."""

    def begin(self) -> None:
        """Leave the marker that work has begun."""
        if not self.start.exists():
            write(self.start, now())

    def fail(self, reason: str, files: Sequence[str] = ()) -> None:
        """End the run without a CSV, unless it has already ended.

        Raises:
            NotFoundError: it was deleted.
            OSError: the disk is full or read-only.
        """
        named = {"reason": reason, "files": files[:MAX_NAMED], "file_count": len(files)}
        with self.locked():
            if not self.is_over:
                self.csv.unlink(missing_ok=True)
                self._end(self.failure, named)

    def cancel(self) -> None:
        """End the run without a CSV, unless it has already ended."""
        with self.locked():
            if not self.is_over:
                self.csv.unlink(missing_ok=True)
                self._end(self.cancellation, {})

    def finish(
        self, draft: Path, report: dict[str, Any], copy: Copy | None = None
    ) -> None:
        """Make *draft* the CSV, then write the report that makes it count.

        *draft* lies beside it. Nothing happens if the run has already ended. *copy* is
        given the CSV and the report's text before: if it fails, nothing is written.
        """
        text = _stamped(report)
        # Not the run's lock: a cancel must not wait for a slow copy.
        with self.there(locked_folder(self.folder / "shards")):
            if copy is not None and not self.is_over:
                copy(draft, text)
            with self.locked():
                if not self.is_over:
                    draft.replace(self.csv)
                    self._sweep()
                    sync_path(self.folder)
                    write(self.report, text)

    def reopen(self, broken: Sequence[int]) -> None:
        """Let a failed or cancelled run go on; *broken* shards are worked again."""
        with self.locked():
            for number in broken:
                self.shard_path(number).unlink(missing_ok=True)
            for attempts in self.attempts.iterdir():
                attempts.unlink(missing_ok=True)
            # The ends go last: a crash before leaves the run as it was, to retry again.
            for marker in (self.absence, self.start, self.failure, self.cancellation):
                marker.unlink(missing_ok=True)
            sync_path(self.folder)

    def _end(self, marker: Path, content: dict[str, Any]) -> None:
        self._sweep()
        write(marker, _stamped(content))

    def _sweep(self) -> None:
        # What killed writers left; of those still at it nothing is wanted any more.
        for folder in (self.folder, self.folder / "shards", self.attempts):
            for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
                leftover.unlink(missing_ok=True)


def _stamped(ending: dict[str, Any]) -> str:
    return json.dumps({**ending, "finished": now()}, ensure_ascii=False, indent=2)
