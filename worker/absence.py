"""A model or a storage of photos that is away: its jobs wait without workers.

A shard whose model or photos are away gives its worker back after a short while, and a
note in the run says so. While it is there, the run has one shard at a time in the queue,
which asks again. The model's first answer lifts a note about it; a note about photos is
lifted by the first shard whose photos could all be read. Such a wait is no attempt of the
shard, however often it happens: how long a job waits in all is the limit.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.files import parse_json, write_atomically
from worker.attempts import record_wait, seconds_waited
from worker.run import Run

SHORTEST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 60.0
MODEL: Final = "model"
PHOTOS: Final = "photos"

_PAUSE_SHARE: Final = 0.1
"""The pause between two questions, of the time that was waited already."""

_TOO_LONG: Final = {
    MODEL: (
        "the model was away for {:.0f} seconds ({}): bring it back, then retry the job"
    ),
    PHOTOS: (
        "the photos could not be read for {:.0f} seconds ({}): bring their folder or "
        "storage back, then retry the job"
    ),
}

_log = logging.getLogger("kennel.worker")


@dataclass(frozen=True)
class Absence:
    """What a run notes of what it waits for.

    Attributes:
        reason: what the model server or the storage said, or that it did not.
        asked: when it was asked last, in seconds since the epoch.
        pause_seconds: how long it is left alone after that.
        awaits: `MODEL` or `PHOTOS`.
        work: the shard that asked last; "" if that is not known.
        waited_seconds: since the note is there.
    """

    reason: str
    asked: float
    pause_seconds: float
    awaits: str = MODEL
    work: str = ""
    waited_seconds: float = 0.0

    @property
    def may_ask(self) -> bool:
        """Whether the pause is over, or the clock was set back."""
        return not 0 <= time.time() - self.asked < self.pause_seconds


def read_absence(folder: Path) -> Absence | None:
    """What the run in *folder* waits for; None: nothing keeps it waiting."""
    note = Run(folder).absence
    try:
        asked = note.stat().st_mtime
        content = parse_json(note.read_text(encoding="utf-8"))
        return Absence(
            str(content["reason"]),
            asked,
            float(content["pause_seconds"]),
            str(content.get("awaits", MODEL)),
            str(content.get("work", "")),
            float(content.get("waited_seconds", 0.0)),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def is_awaited(run: Run, what: str) -> bool:
    """Whether *run* notes that *what* (`MODEL` or `PHOTOS`) is away."""
    absence = read_absence(run.folder)
    return absence is not None and absence.awaits == what


def lift(run: Run, what: str) -> None:
    """Drop the note of *run* about *what*, if there is one: it has answered.

    Raises:
        OSError: the disk is read-only.
    """
    if is_awaited(run, what):
        run.absence.unlink(missing_ok=True)
        _log.info("run %s goes on: its %s can be used again", run.id, what)


def give_worker_back(
    run: Run,
    work: str,
    seconds: float,
    reason: str,
    limit_seconds: float,
    awaits: str = MODEL,
) -> None:
    """Note that *work* found *awaits* away for *seconds*; fail *run* at the limit.

    Raises:
        NotFoundError: the run was deleted.
        OSError: the disk is full or read-only.
    """
    earlier = read_absence(run.folder)
    waited = seconds_waited(run, work)
    if earlier is not None:
        seconds += earlier.pause_seconds
        waited = max(waited, earlier.waited_seconds)
    waited += seconds
    if waited >= limit_seconds:
        run.fail(_TOO_LONG[awaits].format(waited, reason))
        return
    if earlier is None:
        _log.warning("run %s waits for its %s: %s", run.id, awaits, reason)
    share = _PAUSE_SHARE * waited
    note = {
        "reason": reason,
        "pause_seconds": min(max(share, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS),
        "awaits": awaits,
        "work": work,
        "waited_seconds": round(waited, 1),
    }
    write_atomically(run.absence, json.dumps(note, ensure_ascii=False))
    # Last: done again because the disk was full, it would make up for real attempts.
    record_wait(run, work, seconds)
