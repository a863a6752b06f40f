"""An axis: the range that it covers and the round numbers marked on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

STEPS: Final = (1, 2, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A linear axis; *ticks* are (value, what is written there)."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Where *value* lies: 0 at the low end, 1 at the high one."""
        return (value - self.low) / ((self.high - self.low) or 1.0)


def axis_over(title: str, values: Iterable[float], intervals: int = 5) -> Axis:
    """An axis from and to round numbers that holds all finite *values*."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    step = round_step((high - low) / intervals)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(
        (number * step, _written(number * step, step))
        for number in range(first, last + 1)
    )
    return Axis(title, first * step, last * step, ticks)


def epoch_axis(epochs: int) -> Axis:
    """An axis for epochs 1 to *epochs*: whole numbers only."""
    step = max(1, round(round_step(epochs / 7)))
    marked = sorted({1, *range(step, epochs + 1, step)})
    ticks = tuple((number, str(number)) for number in marked if number not in {2, 3})
    return Axis("epoch", 0.5, epochs + 0.5, ticks)


def share_axis(title: str) -> Axis:
    """An axis from 0 to 1, for probabilities and shares."""
    return Axis(title, 0.0, 1.0, tuple((n / 5, f"{n / 5:g}") for n in range(6)))


def round_step(rough: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not below *rough*."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(each * power for each in STEPS if each * power >= rough * (1 - 1e-9))


def _written(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value + 0.0:.{digits}f}" if abs(value) < 1e4 else f"{value:,.0f}"
