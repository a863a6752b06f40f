"""Live answers beside those for the validation photos, as a page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.contract import (
    ENOUGH_IMAGES,
    NOTABLE_PSI,
    SCORE_BINS,
    AnswerSpread,
    ModelCard,
    stability_index,
)

_MOST_ROWS: Final = 20
"""More labels than these are told by the index alone."""


@dataclass(frozen=True)
class Comparison:
    """One spread against the other.

    Attributes:
        title: what is spread.
        index: the population stability index.
        verdict: what people read from it.
        rows: name, share of the validation photos and of the live ones.
    """

    title: str
    index: str
    verdict: str
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Drift:
    """What a page tells of drift.

    Attributes:
        images: that were answered since the service started.
        enough: so many that the indices mean something.
    """

    images: int
    enough: bool
    comparisons: tuple[Comparison, ...]


def compare(card: ModelCard, live: AnswerSpread) -> Drift | None:
    """*live* against the spread in *card*; None if there is nothing to compare yet."""
    expected = card.validation_spread
    if expected is None or live.images == 0:
        return None
    found = [_compared("Scores", _ranges(), expected.scores, live.scores)]
    # The service counts no labels where they are too many.
    if any(live.labels):
        found.append(_compared("Labels", card.labels, expected.labels, live.labels))
    return Drift(live.images, live.images >= ENOUGH_IMAGES, tuple(found))


def _compared(
    title: str, names: Sequence[str], expected: Sequence[int], live: Sequence[int]
) -> Comparison:
    index = stability_index(expected, live)
    rows = zip(names, _percents(expected), _percents(live), strict=True)
    shown = tuple(rows) if len(names) <= _MOST_ROWS else ()
    return Comparison(title, f"{index:.2f}", _verdict(index), shown)


def _verdict(index: float) -> str:
    if index > NOTABLE_PSI:
        return "notably different"
    return "somewhat different" if index > NOTABLE_PSI / 2 else "alike"


def _ranges() -> list[str]:
    return [
        f"{100 * n // SCORE_BINS} to {100 * (n + 1) // SCORE_BINS} %"
        for n in range(SCORE_BINS)
    ]


def _percents(counts: Sequence[int]) -> list[str]:
    total = sum(counts) or 1
    return [f"{100 * count / total:.1f} %" for count in counts]
