"""Who gets the next free place in the queue: the order of the unfinished runs.

To a run of the highest priority that lacks work; among those to the one with the fewest
shards in work; among those to the one that got its last one longest ago. But every
eighth place is given as if all had the same priority: a long job of high priority slows
the others down and does not stop them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from worker.absence import read_absence
from worker.request import PRIORITIES
from worker.snapshot import Snapshot

GUARANTEED_EVERY: Final = 8
"""One place of so many is given without regard to priority."""


class Candidate(NamedTuple):
    """A run that may lack work; compares by who comes first.

    Attributes:
        rank: 0 for the highest priority.
        live: its shards in the queue and in work.
        served_ns: when it got something last, in nanoseconds since the epoch.
        awaits: it asks for one place only, to see whether what it waits for is back.
    """

    rank: int
    live: int
    served_ns: int
    job_id: str
    awaits: bool = False


def find_candidates(runs_dir: Path, seen: Snapshot) -> Iterator[Candidate]:
    """The announced runs; without those that wait and may not ask yet."""
    for job_id, priority in seen.announced.items():
        rank = PRIORITIES.index(priority) if priority in PRIORITIES else len(PRIORITIES)
        live = len(seen.works(job_id))
        served_ns = _changed_ns(runs_dir / job_id / "shards")
        absence = read_absence(runs_dir / job_id)
        if absence is None:
            yield Candidate(rank, live, served_ns, job_id)
        elif absence.may_ask and not live:
            served_ns = max(served_ns, int(absence.asked * 1e9))
            yield Candidate(rank, live, served_ns, job_id, awaits=True)


def whose_turn(candidates: Iterable[Candidate], given: int) -> Candidate:
    """Who of *candidates* gets a place after so many were *given*."""
    if given % GUARANTEED_EVERY == GUARANTEED_EVERY - 1:
        return min(candidates, key=lambda each: each[1:])
    return min(candidates)


def _changed_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except (OSError, ValueError):
        return 0
