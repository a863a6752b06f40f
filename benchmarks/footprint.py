"""Peak memory of each process of a stack while it is watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from benchmarks.harness.background import repeating
from benchmarks.harness.stack import peak_megabytes, tree


class Footprint:
    """Peaks in MB, of each process and of the largest one that it started."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        """Watch the processes *pids*, by name; `look` has to be called."""
        self._pids = dict(pids)
        self._peaks: dict[str, float] = {}

    def look(self) -> None:
        for name, pid in self._pids.items():
            # The process or one of its children may end at this moment.
            with suppress(OSError, LookupError):
                own, *others = tree(pid)
                self._note(name, own)
                for other in others:
                    self._note(f"{name}'s child", other)

    def peaks(self) -> dict[str, float]:
        return dict(sorted(self._peaks.items()))

    def check(self, bounds: Mapping[str, float]) -> None:
        """Check the peaks against *bounds*: MB by the beginning of a process's name.

        Raises:
            SystemExit: a peak is above its bound, or there was no process of that name.
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
    """The peak memory of the processes *pids* during the block.

    Processes that live for less than *pause_seconds* may be missed. Each look takes
    some milliseconds of a core from what is measured beside it.
    """
    footprint = Footprint(pids)
    with repeating(footprint.look, pause_seconds):
        yield footprint
