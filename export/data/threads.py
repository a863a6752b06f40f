"""Small work on many files, by a few threads.

Files go to the threads in bunches: handing over each of 60,000 alone would take longer
than hashing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

FILE_THREADS: Final = 4
_BUNCH: Final = 32

_T = TypeVar("_T")
_R = TypeVar("_R")


def map_files(function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """*function* of each of *items*, in their order, as they are done.

    Stops, and starts nothing more, when *function* raises; what is under way ends first.
    """

    def work(start: int) -> list[_R]:
        return [function(item) for item in items[start : start + _BUNCH]]

    with ThreadPoolExecutor(FILE_THREADS) as pool:
        for results in pool.map(work, range(0, len(items), _BUNCH)):
            yield from results
