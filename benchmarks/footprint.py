"""The most memory that each process of a stack held while it was watched."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from benchmarks.harness.stack import peak_megabytes, tree


class Footprint:
    """Peaks in MB, of each process and of the largest one that it started."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        """Nothing seen yet of the processes *pids*, by name."""
        self._pids = dict(pids)
        self._peaks: dict[str, float] = {}

    def look(self) -> None:
        for name, pid in self._pids.items():
            # It or one that it started may end at this moment.
            with suppress(OSError, LookupError):
                own, *others = tree(pid)
                self._note(name, own)
                for other in others:
                    self._note(f"{name}'s child", other)

    def peaks(self) -> dict[str, float]:
        return dict(sorted(self._peaks.items()))

    def check(self, bounds: Mapping[str, float]) -> None:
        """See that no process whose name begins like one of *bounds* took more MB.

        Raises:
            SystemExit: one did, or there was none of that name.
        """
        for name, most in bounds.items():
            found = {
                each: mb for each, mb in self._peaks.items() if each.startswith(name)
            }
            if not found or max(found.values()) > most:
                raise SystemExit(f"{name} took {found or 'nothing'}, above {most:g} MB")

    def _note(self, name: str, pid: int) -> None:
        self._peaks[name] = max(self._peaks.get(name, 0.0), peak_megabytes(pid))


@contextmanager
def watched(pids: Mapping[str, int], pause_seconds: float) -> Iterator[Footprint]:
    """What the processes *pids* hold at most during the block.

    Those that live for less than *pause_seconds* may be missed. To look costs some
    milliseconds of a core, which whatever is measured beside it lacks.
    """
    footprint = Footprint(pids)
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(pause_seconds):
            footprint.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield footprint
    finally:
        stopping.set()
        thread.join()
