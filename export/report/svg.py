"""Charts drawn as SVG: axes, grid, shapes, legend, and a description in words.

A drawing is as narrow as a phone, so that its text stays readable there. Lines differ
in colour and in dashes; the colours are those of Okabe and Ito (2008), which stay apart
for colour-blind readers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from markupsafe import Markup

WIDTH: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 20, 40
DASHES: Final = {"one": "none", "two": "7 3", "three": "2 3", "guide": "3 4"}
STEPS: Final = (1, 2, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A linear axis; *ticks* are (value, text)."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Where *value* lies: 0 at the low end, 1 at the high one."""
        return (value - self.low) / ((self.high - self.low) or 1.0)


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
    """Bars that stand on the axis, (from, to, height) each."""

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
    """A coordinate system with shapes; *description* puts it into words."""

    description: str
    x: Axis
    y: Axis
    shapes: Sequence[Shape]
    height: int = 240

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point, in the drawing's units."""
        across = LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
        inner = self.height - TOP - BOTTOM
        return across, TOP + (1 - self.y.share(y)) * inner


def draw_chart(chart: Chart) -> Markup:
    """The chart as an SVG element that scales with its column."""
    shapes = _join(_draw(chart, shape) for shape in chart.shapes)
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>'
    ).format(WIDTH, chart.height, chart.description, _grid(chart), shapes)


def legend(charts: Sequence[Chart]) -> list[tuple[Markup, str]]:
    """A sample and the name of every shape in the *charts* that has a name."""
    shapes = {
        shape.name: shape
        for chart in charts
        for shape in chart.shapes
        if not isinstance(shape, Divider) and shape.name
    }
    swatch = Markup('<svg width="28" height="14" viewBox="0 0 28 14">{}</svg>')
    return [(swatch.format(_sample(shape)), name) for name, shape in shapes.items()]


def axis_over(title: str, values: Iterable[float], intervals: int = 5) -> Axis:
    """An axis from and to round numbers that holds all finite *values*."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    step = round_step((high - low) / intervals)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(
        (number * step, _tick_label(number * step, step))
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


def _tick_label(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value + 0.0:.{digits}f}" if abs(value) < 1e4 else f"{value:,.0f}"


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup().join(parts)


def _grid(chart: Chart) -> Markup:
    bottom, right = chart.height - BOTTOM, WIDTH - RIGHT
    parts = []
    for value, label in chart.y.ticks:
        _, y = chart.place(chart.x.low, value)
        parts.append(_path("grid", f"M{LEFT} {y:.1f}H{right}"))
        parts.append(_words(LEFT - 5, y + 4, label, "end"))
    for value, label in chart.x.ticks:
        x, _ = chart.place(value, chart.y.low)
        parts.append(_path("tick", f"M{x:.1f} {bottom}v4"))
        parts.append(_words(x, bottom + 16, label, "middle"))
    parts.append(_path("tick", f"M{LEFT} {bottom}H{right}"))
    middle, across = (LEFT + right) / 2, (TOP + bottom) / 2
    parts.append(_words(middle, chart.height - 6, chart.x.title, "middle"))
    turned = Markup('<g transform="translate(11 {:.1f}) rotate(-90)">{}</g>')
    parts.append(turned.format(across, _words(0, 0, chart.y.title, "middle")))
    return _join(parts)


def _draw(chart: Chart, shape: Shape) -> Markup:
    if isinstance(shape, Divider):
        return _draw_divider(chart, shape)
    if isinstance(shape, Bars):
        return _join(_draw_bar(chart, bar, shape.colour) for bar in shape.bars)
    placed = [
        chart.place(x, y)
        for x, y in shape.points
        if math.isfinite(x) and math.isfinite(y)
    ]
    if isinstance(shape, Marks):
        return _join(_circle(point, f"mark {shape.colour}", 5) for point in placed)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    line = Markup('<polyline class="line {}" stroke-dasharray="{}" points="{}"/>')
    # A line of one point would not be seen.
    alone = placed if len(placed) == 1 else []
    dots = _join(_circle(each, f"dot {shape.colour}", 3) for each in alone)
    return line.format(shape.colour, DASHES[shape.colour], points) + dots


def _draw_divider(chart: Chart, divider: Divider) -> Markup:
    x, _ = chart.place(divider.x, chart.y.low)
    line = _path("divider", f"M{x:.1f} {TOP - 14}V{chart.height - BOTTOM}")
    return line + _words(x + 4, TOP - 6, divider.word, "start")


def _draw_bar(chart: Chart, bar: tuple[float, float, float], colour: str) -> Markup:
    left, top = chart.place(bar[0], bar[2])
    right, bottom = chart.place(bar[1], chart.y.low)
    width, height = max(right - left - 1, 0.5), bottom - top
    return Markup(
        '<rect class="bar {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    ).format(colour, left + 0.5, top, width, height)


def _sample(shape: Line | Bars | Marks) -> Markup:
    colour = shape.colour
    if isinstance(shape, Line):
        line = Markup('<path class="line {}" stroke-dasharray="{}" d="M1 7H27"/>')
        return line.format(colour, DASHES[colour])
    if isinstance(shape, Bars):
        bar = Markup('<rect class="bar {}" x="6" y="1" width="16" height="12"/>')
        return bar.format(colour)
    return _circle((14, 7), f"mark {colour}", 5)


def _path(kind: str, steps: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(kind, steps)


def _circle(point: tuple[float, float], kind: str, radius: int) -> Markup:
    circle = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>')
    return circle.format(kind, *point, radius)


def _words(x: float, y: float, words: str, anchor: str) -> Markup:
    text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return text.format(x, y, anchor, words)
