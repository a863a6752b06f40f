"""Processes that are killed before a chosen step on the disk.

Python tells of each file operation before it does it (`sys.addaudithook`), so a sweep
over all steps leaves out no moment at which a crash makes a difference to the files. A
file that is opened to be written is one step more: there half of it is left.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.queue import JobQueue

STEPS = frozenset(
    {
        "fcntl.flock",
        "open",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "os.truncate",
        "socket.connect",
    }
)
"""What is counted: changes, looks that lead to them, and connections to Redis."""

_WRITES = os.O_WRONLY | os.O_RDWR
_LIMIT_SECONDS = 60
_PRELOADED = ["tests.faults.test_crash_sweep"]
"""With all that it imports: else each of some hundred processes would import it."""


@dataclass(frozen=True)
class Place:
    """Where the processes find a kennel; what may be pickled of a `World`."""

    env: Mapping[str, str]
    shard_size: int

    @property
    def runs_dir(self) -> Path:
        """The folder whose operations are counted."""
        return Path(self.env["RUNS_DIR"])

    def queue(self) -> JobQueue:
        """The front, to be used in any process."""
        return JobQueue(
            self.env["REDIS_URL"],
            self.runs_dir,
            Path(self.env["INPUT_ROOT"]),
            shard_size=self.shard_size,
        )


def crashes(place: Place, action: Callable[..., object], *given: Any, at: int) -> bool:
    """Run ``action(*given)`` in a process that is killed before its step number *at*.

    Returns whether it was killed; False: it ended before.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_run, args=(place, at, action, given))
    process.start()
    process.join(_LIMIT_SECONDS)
    assert process.exitcode in {0, -signal.SIGKILL}, process
    return process.exitcode != 0


def _run(
    place: Place, at: int, action: Callable[..., object], given: tuple[Any, ...]
) -> None:
    os.environ.update(place.env)
    steps = itertools.count(1)

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in STEPS or not _concerns(place.runs_dir, arguments):
            return
        if next(steps) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if event == "open" and arguments[2] & _WRITES and next(steps) == at:
            _die_in_mid_write(arguments[0], arguments[2])

    sys.addaudithook(count)
    action(*given)


def _die_in_mid_write(path: Any, flags: int) -> None:
    # Not seen by the hook: this process has counted its last step.
    descriptor = path if isinstance(path, int) else os.open(path, flags, 0o600)
    os.write(descriptor, b"half a")
    os.kill(os.getpid(), signal.SIGKILL)


def _concerns(folder: Path, arguments: tuple[Any, ...]) -> bool:
    # Descriptors, sockets and names relative to a descriptor are never foreign here.
    path = arguments[0]
    if not isinstance(path, str | bytes | Path):
        return True
    text = os.fsdecode(path)
    return not text.startswith("/") or text.startswith(str(folder))
