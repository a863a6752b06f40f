"""What was last seen of each job, shared by the processes of one service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from models.files import locked_file, parse_json


class SeenJob(NamedTuple):
    """One job: when it ended (None: it has not), its images done and unreadable."""

    ended: float | None
    done: int
    unreadable: int

    @property
    def answered(self) -> int:
        """Images that have probabilities."""
        return self.done - self.unreadable


NOTHING_SEEN: Final = SeenJob(None, 0, 0)


class SeenJobs:
    """Jobs by id; whoever holds the lock reads and changes them."""

    def __init__(self, folder: Path | None) -> None:
        """Keep them in *folder*, for all its processes; None: in memory, for one."""
        self._path = folder / "jobs.json" if folder else None
        self._lock = threading.Lock()
        self._memory: dict[str, SeenJob] = {}

    @contextmanager
    def locked(self) -> Iterator[dict[str, SeenJob]]:
        """The jobs; what the block makes of them is kept."""
        with self._lock:
            if self._path is None:
                yield self._memory
            else:
                with _locked_file(self._path) as jobs:
                    yield jobs


@contextmanager
def _locked_file(path: Path) -> Iterator[dict[str, SeenJob]]:
    with locked_file(path.with_suffix(".lock")):
        jobs = _load(path)
        yield jobs
        # Renamed, so that a process which is killed here leaves the old one.
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(jobs), encoding="utf-8")
        fresh.rename(path)


def _load(path: Path) -> dict[str, SeenJob]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {id_: SeenJob(*each) for id_, each in content.items()}
