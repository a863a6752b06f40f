"""Log loss against the clip bound: what limiting probabilities gains or costs."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import numpy as np

from export.report.charts import (
    Axis,
    Chart,
    Line,
    Marks,
    Shape,
    axis_over,
    chart_figure,
)
from export.report.content import ReportContent, ReportedPhotos
from export.report.drawing.markup import Markup, panels, paragraph, table
from export.report.drawing.numbers import loss
from models.probabilities import clip, log_loss

COURSE_BOUND: Final = 0.95
"""The fast.ai course's, for comparison."""

_TICKS: Final = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999)
_TICK_DISTANCE: Final = 0.08


def clipping_section(content: ReportContent) -> Markup:
    """The curve, with the chosen bound, 0.95 and no clipping marked."""
    photos = content.photos
    bounds = _bounds(photos)
    losses = [_clipped_loss(photos, bound) for bound in bounds]
    note = (
        "One confident mistake costs without limit, so probabilities are kept between "
        "(1 - bound) / (labels - 1) and the bound before they are submitted. The chosen "
        "bound may lie a little lower than the least loss here: it reckons with "
        "mistakes that these photos lack."
    )
    chart = _chart(photos, bounds, losses)
    least = int(np.argmin(losses))
    figure = chart_figure("Log loss when clipped", [chart], Markup(""))
    rows = _rows(photos, (bounds[least], losses[least]))
    numbers = table("Log loss at these bounds", ["bound", "at most", "log loss"], rows)
    return Markup(paragraph(note, quiet=True) + panels([figure, numbers]))


def _bounds(photos: ReportedPhotos) -> list[float]:
    # Around 0.95 and the chosen one: further out the curve only rises, or is flat.
    chosen = photos.clip_bound if photos.clip_bound is not None else COURSE_BOUND
    largest, smallest = max(0.1, 2 * (1 - chosen)), min(1e-4, (1 - chosen) / 2)
    bounds = 1 - np.geomspace(largest, max(smallest, 1e-6), 90)
    return [float(each) for each in bounds if each > 1 / len(photos.labels)]


def _chart(photos: ReportedPhotos, bounds: list[float], losses: list[float]) -> Chart:
    unclipped = _clipped_loss(photos, None)
    # At full height one confident mistake would flatten the rest of the curve.
    y = axis_over("log loss", [*losses, min(unclipped, 1.2 * max(losses))])
    x = _bound_axis(bounds)
    curve = [(_nines(b), value) for b, value in zip(bounds, losses, strict=True)]
    inside = [] if unclipped > y.high else [(x.low, unclipped), (x.high, unclipped)]
    none = Line(f"no clipping: {loss(unclipped)}", inside, "guide")
    marks = [_mark(photos, COURSE_BOUND, "two", "the course's")]
    if photos.clip_bound is not None and bounds[0] <= photos.clip_bound <= bounds[-1]:
        marks.append(_mark(photos, photos.clip_bound, "three", "chosen"))
    named = ". ".join([none.name, *(mark.name for mark in marks)])
    shapes: list[Shape] = [Line("clipped at the bound", curve), none, *marks]
    return Chart(f"Log loss for clip bounds. {named}.", x, y, shapes)


def _mark(photos: ReportedPhotos, bound: float, colour: str, word: str) -> Marks:
    value = _clipped_loss(photos, bound)
    name = f"{word} bound {bound:g}: {loss(value)}"
    return Marks(name, [(_nines(bound), value)], colour)


def _bound_axis(bounds: list[float]) -> Axis:
    low, high = _nines(bounds[0]), _nines(bounds[-1])
    ticks = tuple((_nines(each), f"{each:g}") for each in _TICKS)
    inside = [tick for tick in ticks if low - 1e-6 <= tick[0] <= high + 1e-6]
    room = [
        tick
        for before, tick in pairwise([(-math.inf, ""), *inside])
        if tick[0] - before[0] > _TICK_DISTANCE * (high - low)
    ]
    return Axis("clip bound", low, high, tuple(room))


def _nines(bound: float) -> float:
    return -math.log10(1 - bound)


def _rows(photos: ReportedPhotos, least: tuple[float, float]) -> list[list[str]]:
    bounds: list[tuple[str, float | None]] = [("none", None), ("0.95", COURSE_BOUND)]
    if photos.clip_bound is not None:
        bounds.append(("chosen", photos.clip_bound))
    rows = [
        [name, f"{bound:g}" if bound else "-", loss(_clipped_loss(photos, bound))]
        for name, bound in bounds
    ]
    return [*rows, ["least here", f"{least[0]:.5g}", loss(least[1])]]


def _clipped_loss(photos: ReportedPhotos, bound: float | None) -> float:
    return log_loss(clip(photos.probabilities, bound), photos.classes)
