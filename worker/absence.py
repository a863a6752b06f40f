"""A model that is away: its jobs wait without workers, and ask now and then.

A shard whose model is away gives its worker back after a short while, and a note in the
run says so. While it is there, the run has one shard at a time in the queue, which asks
again; the first answer lifts the note. Such a wait is no attempt of the shard, however
often it happens: how long a job waits in all is the limit.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.storage import parse_json, write_atomically
from worker.attempts import record_wait, seconds_waited
from worker.run import Run

SHORTEST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 60.0
_PAUSE_SHARE: Final = 0.1
"""The pause between two questions, of the time that was waited already."""

_log = logging.getLogger("kennel.worker")


@dataclass(frozen=True)
class Absence:
    """What a run notes of its model.

    Attributes:
        reason: what the model server said, or that it did not.
        asked: when it was asked last, in seconds since the epoch.
        pause_seconds: how long it is left alone after that.
    """

    reason: str
    asked: float
    pause_seconds: float

    @property
    def may_ask(self) -> bool:
        """Whether the pause is over, or the clock was set back."""
        return not 0 <= time.time() - self.asked < self.pause_seconds


def read_absence(folder: Path) -> Absence | None:
    """What the run in *folder* notes of its model; None: nothing keeps it waiting."""
    note = Run(folder).absence
    try:
        asked = note.stat().st_mtime
        content = parse_json(note.read_text(encoding="utf-8"))
        return Absence(str(content["reason"]), asked, float(content["pause_seconds"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def lift(run: Run) -> None:
    """Drop the note of *run*, if there is one: its model has answered.

    Raises:
        OSError: the disk is read-only.
    """
    if run.absence.exists():
        run.absence.unlink(missing_ok=True)
        _log.info("run %s: its model is back", run.id)


def give_worker_back(
    run: Run, work: str, seconds: float, reason: str, limit_seconds: float
) -> None:
    """Note that *work* found the model away for *seconds*; fail *run* at the limit.

    Raises:
        NotFoundError: the run was deleted.
        OSError: the disk is full or read-only.
    """
    earlier = read_absence(run.folder)
    seconds += 0.0 if earlier is None else earlier.pause_seconds
    waited = seconds_waited(run, work) + seconds
    if waited >= limit_seconds:
        run.fail(
            f"the model was away for {waited:.0f} seconds ({reason}): bring it back, "
            "then retry the job"
        )
        return
    if earlier is None:
        _log.warning("run %s waits for its model: %s", run.id, reason)
    share = _PAUSE_SHARE * waited
    pause = min(max(share, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
    note = {"reason": reason, "pause_seconds": pause}
    write_atomically(run.absence, json.dumps(note, ensure_ascii=False))
    # Last: done again because the disk was full, it would make up for real attempts.
    record_wait(run, work, seconds)
