"""A confusion matrix as a page shows it: shaded cells, or the worst pairs of a large one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_LABELS: Final = 20
"""A wider table cannot be read; of a larger matrix only the worst pairs are shown."""

_LEVELS: Final = 5
_WORST: Final = 10


@dataclass(frozen=True)
class Cell:
    """How often one label was answered where another (or the same) was true.

    Attributes:
        level: share of the row, 0 (none) to 5 (all), for its shade.
        right: the answered label is the true one.
    """

    count: int
    level: int
    right: bool


@dataclass(frozen=True)
class Confusion:
    """Rows of cells by true label, and the most frequent mistakes.

    Attributes:
        rows: empty when there are too many labels for a table.
        mistakes: (true label, answered label, photos), the most frequent first.
    """

    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    mistakes: tuple[tuple[str, str, int], ...]


def read_confusion(matrix: object, labels: Sequence[str]) -> Confusion | None:
    """The confusion of *labels*; None if *matrix* is no square table of counts."""
    if not _is_matrix(matrix, len(labels)):
        return None
    counts: Sequence[Sequence[int]] = matrix  # type: ignore[assignment]
    rows = [
        (label, tuple(_cell(row, true, column) for column in range(len(labels))))
        for true, (label, row) in enumerate(zip(labels, counts, strict=True))
    ]
    fits = len(labels) <= MAX_LABELS
    return Confusion(tuple(rows) if fits else (), _mistakes(counts, labels))


def _is_matrix(matrix: object, size: int) -> bool:
    return _is_row(matrix, size, list) and all(
        _is_row(row, size, int)
        for row in matrix  # type: ignore[attr-defined]
    )


def _is_row(row: object, size: int, kind: type) -> bool:
    usable = isinstance(row, list) and len(row) == size
    return usable and all(isinstance(each, kind) for each in row)  # type: ignore[attr-defined]


def _cell(row: Sequence[int], true: int, answered: int) -> Cell:
    count = row[answered]
    share = count / max(sum(row), 1)
    level = max(round(_LEVELS * share), 1) if count else 0
    return Cell(count, level, true == answered)


def _mistakes(
    counts: Sequence[Sequence[int]], labels: Sequence[str]
) -> tuple[tuple[str, str, int], ...]:
    found = [
        (labels[true], labels[answered], count)
        for true, row in enumerate(counts)
        for answered, count in enumerate(row)
        if true != answered and count > 0
    ]
    return tuple(sorted(found, key=lambda each: -each[2])[:_WORST])
