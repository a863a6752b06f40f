"""Charts as SVG: axes, grid, legend, and words for who cannot see them.

A drawing is as narrow as a phone, so that its text stays readable there. Lines differ
in colour and in dashes; the colours are those of Okabe and Ito (2008), which stay apart
for colour-blind readers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from export.report.drawing.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Bars,
    Chart,
    Divider,
    Line,
    Marks,
    Shape,
)
from export.report.drawing.markup import Markup, join, text

DASHES: Final = {"one": "", "two": "7 3", "three": "2 3", "guide": "3 4"}


def chart_figure(title: str, charts: Sequence[Chart], below: Markup) -> Markup:
    """Charts under one title, their common legend, and what stands *below* them."""
    shapes = {
        shape.name: shape
        for chart in charts
        for shape in chart.shapes
        if not isinstance(shape, Divider) and shape.name
    }
    entries = join(_legend_entry(shape) for shape in shapes.values())
    drawn = join(draw_chart(chart) for chart in charts)
    return Markup(
        f"<figure><figcaption>{text(title)}</figcaption>{drawn}"
        f'<ul class="legend" aria-hidden="true">{entries}</ul>{below}</figure>'
    )


def draw_chart(chart: Chart) -> Markup:
    """The chart as an SVG element that scales with its column."""
    shapes = join(_draw(chart, shape) for shape in chart.shapes)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {chart.height}" role="img" '
        f'aria-label="{text(chart.description)}">{_grid(chart)}{shapes}</svg>'
    )


def _grid(chart: Chart) -> Markup:
    bottom, right = chart.height - BOTTOM, WIDTH - RIGHT
    parts = []
    for value, written in chart.y.ticks:
        _, y = chart.place(chart.x.low, value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(_words(LEFT - 5, y + 4, written, "end"))
    for value, written in chart.x.ticks:
        x, _ = chart.place(value, chart.y.low)
        parts.append(f'<path class="tick" d="M{x:.1f} {bottom}v4"/>')
        parts.append(_words(x, bottom + 16, written, "middle"))
    parts.append(f'<path class="tick" d="M{LEFT} {bottom}H{right}"/>')
    middle, across = (LEFT + right) / 2, (TOP + bottom) / 2
    parts.append(_words(middle, chart.height - 6, chart.x.title, "middle"))
    turned = f'<g transform="translate(11 {across:.1f}) rotate(-90)">'
    parts.append(f"{turned}{_words(0, 0, chart.y.title, 'middle')}</g>")
    return Markup("".join(parts))


def _draw(chart: Chart, shape: Shape) -> Markup:
    if isinstance(shape, Divider):
        return _draw_divider(chart, shape)
    if isinstance(shape, Bars):
        return join(_draw_bar(chart, bar, shape.colour) for bar in shape.bars)
    placed = [
        chart.place(x, y)
        for x, y in shape.points
        if math.isfinite(x) and math.isfinite(y)
    ]
    if isinstance(shape, Marks):
        return join(_circle(point, f"mark {shape.colour}", 5) for point in placed)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    line = f'<polyline {_stroke(shape.colour)} points="{points}"/>'
    # A line of one point would not be seen.
    alone = placed if len(placed) == 1 else []
    dots = join(_circle(each, f"dot {shape.colour}", 3) for each in alone)
    return Markup(line + dots)


def _draw_divider(chart: Chart, divider: Divider) -> Markup:
    x, _ = chart.place(divider.x, chart.y.low)
    line = f'<path class="divider" d="M{x:.1f} {TOP - 14}V{chart.height - BOTTOM}"/>'
    return Markup(line + _words(x + 4, TOP - 6, divider.word, "start"))


def _draw_bar(chart: Chart, bar: tuple[float, float, float], colour: str) -> Markup:
    left, top = chart.place(bar[0], bar[2])
    right, bottom = chart.place(bar[1], chart.y.low)
    width, height = max(right - left - 1, 0.5), bottom - top
    return Markup(
        f'<rect class="bar {colour}" x="{left + 0.5:.1f}" y="{top:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}"/>'
    )


def _circle(point: tuple[float, float], kind: str, radius: int) -> Markup:
    x, y = point
    return Markup(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>')


def _words(x: float, y: float, words: str, anchor: str) -> Markup:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return Markup(f"<text {place}>{text(words)}</text>")


def _stroke(colour: str) -> str:
    return f'class="line {colour}" stroke-dasharray="{DASHES[colour] or "none"}"'


def _legend_entry(shape: Line | Bars | Marks) -> Markup:
    if isinstance(shape, Line):
        sample = f'<path {_stroke(shape.colour)} d="M1 7H27"/>'
    elif isinstance(shape, Bars):
        sample = (
            f'<rect class="bar {shape.colour}" x="6" y="1" width="16" height="12"/>'
        )
    else:
        sample = _circle((14, 7), f"mark {shape.colour}", 5)
    swatch = f'<svg width="28" height="14" viewBox="0 0 28 14">{sample}</svg>'
    return Markup(f"<li>{swatch} {text(shape.name)}</li>")
