"""What a chart is: axes and shapes, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from export.report.drawing.axes import Axis

WIDTH: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 20, 40


@dataclass(frozen=True)
class Line:
    """Points joined; *colour* is "one", "two", "three" or "guide".

    A shape without a name is not in the legend.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = "one"


@dataclass(frozen=True)
class Bars:
    """(from, to, height) each, standing on the axis."""

    name: str
    bars: Sequence[tuple[float, float, float]]
    colour: str = "one"


@dataclass(frozen=True)
class Marks:
    """Ringed points with one meaning."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = "three"


@dataclass(frozen=True)
class Divider:
    """A vertical line at *x*; *word* stands to the right of it."""

    x: float
    word: str


Shape: TypeAlias = Line | Bars | Marks | Divider


@dataclass(frozen=True)
class Chart:
    """One coordinate system; *description* says in words what it shows."""

    description: str
    x: Axis
    y: Axis
    shapes: Sequence[Shape]
    height: int = 240

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is in the drawing, in the drawing's own units."""
        across = LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
        inner = self.height - TOP - BOTTOM
        return across, TOP + (1 - self.y.share(y)) * inner
