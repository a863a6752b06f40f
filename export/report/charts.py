"""Charts of the report: training curves, reliability, log loss against the clip bound.

Each section's function takes the content and gives what its template shows: charts, and
the numbers behind them as tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.evaluation.calibration import FIXED_BOUND
from export.evaluation.metrics import (
    ReliabilityBin,
    expected_calibration_error,
    reliability_bins,
)
from export.recipes.catalogue import EXACT
from export.report.content import ReportContent, ReportedPhotos, ReportedStage
from export.report.figures import Table, count, loss, percent, plural
from export.report.svg import (
    Axis,
    Bars,
    Chart,
    Divider,
    Line,
    Marks,
    Shape,
    axis_over,
    epoch_axis,
    share_axis,
)
from export.training.checkpoints import Epoch
from models.probabilities import clip, log_loss

BINS: Final = 15
"""Bins of the reliability diagram."""

_BOUND_TICKS: Final = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999)
_TICK_DISTANCE: Final = 0.08


class ChartFigure(NamedTuple):
    """Charts under one title, and the numbers behind them."""

    title: str
    charts: Sequence[Chart]
    numbers: Table | None = None


class ModelCurves(NamedTuple):
    """The curves of one member or fold; ``name`` is empty where there is only one."""

    name: str
    figures: Sequence[ChartFigure]
    epochs: Table


class Curves(NamedTuple):
    """The table of stages, and the curves of each model."""

    stages: Table | None
    models: Sequence[ModelCurves]


def training_curves(content: ReportContent) -> Curves | None:
    """Loss and accuracy of every epoch, which show whether a model learnt or overfitted."""
    if not content.epochs:
        return None
    ordered = sorted(content.epochs, key=lambda epoch: epoch.member)
    by_member = groupby(ordered, lambda epoch: epoch.member)
    members = {member: list(epochs) for member, epochs in by_member}
    # The same scale for every member, so that they can be compared.
    losses = [v for each in ordered for v in (each.loss, each.val_loss)]
    shares = [v for each in ordered for v in (each.accuracy, each.val_accuracy)]
    axes = axis_over("log loss", losses), axis_over("share right", shares)
    exact = any(each.optimizer == EXACT for each in content.stages)
    rate = "regularisation" if exact else "learning rate"
    models = []
    for member, epochs in members.items():
        name = content.models.get(member) or f"member {member} of {len(members)}"
        models.append(
            ModelCurves(
                name.capitalize() if len(members) > 1 else "",
                [
                    _curves("Loss", epochs, axes[0], _losses),
                    _curves("Accuracy", epochs, axes[1], _accuracies),
                ],
                _epoch_table(epochs, rate),
            )
        )
    return Curves(_stage_table(content.stages), models)


def _stage_table(stages: Sequence[ReportedStage]) -> Table | None:
    if not stages:
        return None
    several = any(each.model for each in stages)
    named = ["model"] if several else []
    head = ["stage", *named, "trains", "parameters", "epochs", "kept", "ended"]
    rows = [
        [
            str(each.number),
            *([each.model] if several else []),
            each.trains,
            "" if each.parameters is None else count(each.parameters),
            count(each.epochs),
            f"epoch {each.kept}" if each.kept else "nothing: no epoch was better",
            each.ended,
        ]
        for each in stages
    ]
    return Table("Stages", head, rows)


def _losses(epoch: Epoch) -> tuple[float, float]:
    return epoch.loss, epoch.val_loss


def _accuracies(epoch: Epoch) -> tuple[float, float]:
    return epoch.accuracy, epoch.val_accuracy


def _curves(
    title: str,
    epochs: Sequence[Epoch],
    y: Axis,
    values: Callable[[Epoch], tuple[float, float]],
) -> ChartFigure:
    pairs = [values(epoch) for epoch in epochs]
    train = [(number, pair[0]) for number, pair in enumerate(pairs, start=1)]
    valid = [(number, pair[1]) for number, pair in enumerate(pairs, start=1)]
    best = [valid[index] for index in _best_of_stages(epochs)]
    shapes: list[Shape] = [
        *_stage_dividers(epochs),
        Line("training", train, "two"),
        Line("validation", valid, "one"),
        Marks("best epoch", best),
    ]
    last = best[-1]
    description = (
        f"{title} of {plural(len(epochs), 'epoch')}. Best epoch of the last stage: "
        f"{last[0]:.0f}, validation {last[1]:.4f}, training {train[last[0] - 1][1]:.4f}."
    )
    return ChartFigure(title, [Chart(description, epoch_axis(len(epochs)), y, shapes)])


def _best_of_stages(epochs: Sequence[Epoch]) -> Iterator[int]:
    numbered = enumerate(epochs)
    for _, stage in groupby(numbered, lambda pair: pair[1].stage):
        yield min(stage, key=lambda pair: pair[1].val_loss)[0]


def _stage_dividers(epochs: Sequence[Epoch]) -> list[Divider]:
    starts = [
        (index, epoch.stage)
        for index, epoch in enumerate(epochs)
        if not index or epoch.stage != epochs[index - 1].stage
    ]
    if len(starts) < 2:
        return []
    return [Divider(index + 0.5, f"stage {stage}") for index, stage in starts]


def _epoch_table(epochs: Sequence[Epoch], rate: str) -> Table:
    head = ["stage, epoch", rate, "loss", "val. loss", "accuracy", "val. acc."]
    rows = [
        [
            f"{epoch.stage}, {epoch.number}",
            f"{epoch.learning_rate:.1e}",
            loss(epoch.loss),
            loss(epoch.val_loss),
            percent(epoch.accuracy),
            percent(epoch.val_accuracy),
        ]
        for epoch in epochs
    ]
    return Table("Epochs", head, rows)


class Reliability(NamedTuple):
    """The reliability diagrams, and their number of bins."""

    figures: Sequence[ChartFigure]
    bins: int = BINS


def reliability(content: ReportContent) -> Reliability:
    """Diagrams of accuracy over confidence, before the temperature (if known) and after."""
    photos = content.photos
    shown = [("As served", photos.probabilities)]
    if (raw := photos.uncalibrated()) is not None:
        after = f"After calibration, temperature {photos.temperature:.3f}"
        shown = [("Before calibration", raw), (after, photos.probabilities)]
    diagrams = {
        _diagram_title(title, rows, photos.classes): _filled_bins(rows, photos.classes)
        for title, rows in shown
    }
    # One scale of counts, so that before and after can be compared.
    fullest = max(each.count for bins in diagrams.values() for each in bins)
    return Reliability(
        [
            ChartFigure(
                title,
                [_shares_chart(title, bins), _counts_chart(bins, fullest)],
                _bin_table(bins),
            )
            for title, bins in diagrams.items()
        ]
    )


def _diagram_title(title: str, rows: NDArray[Any], classes: NDArray[np.int64]) -> str:
    return f"{title}: ECE {percent(expected_calibration_error(rows, classes, BINS))}"


def _filled_bins(
    rows: NDArray[Any], classes: NDArray[np.int64]
) -> list[ReliabilityBin]:
    return [each for each in reliability_bins(rows, classes, BINS) if each.count]


def _shares_chart(title: str, bins: Sequence[ReliabilityBin]) -> Chart:
    bars = [(each.lower, each.upper, each.accuracy) for each in bins]
    means = [(each.confidence, each.accuracy) for each in bins]
    described = "; ".join(
        f"at {percent(each.confidence)} sure {percent(each.accuracy)} right"
        for each in bins
    )
    return Chart(
        f"Reliability diagram. {title}. {described}.",
        share_axis(""),
        share_axis("share right"),
        [
            Bars("share right", bars),
            Line("as sure as right", [(0, 0), (1, 1)], "guide"),
            Marks("how sure, on average", means, "two"),
        ],
        height=230,
    )


def _counts_chart(bins: Sequence[ReliabilityBin], fullest: int) -> Chart:
    bars = [(each.lower, each.upper, each.count) for each in bins]
    described = ", ".join(
        f"{each.lower:.2f} to {each.upper:.2f}: {each.count}" for each in bins
    )
    return Chart(
        f"Photos in each bin. {described}.",
        share_axis("probability of the label called"),
        axis_over("photos", [0, fullest], intervals=2),
        [Bars("", bars, "three")],
        height=120,
    )


def _bin_table(bins: Sequence[ReliabilityBin]) -> Table:
    rows = [
        [
            f"{each.lower:.3f} to {each.upper:.3f}",
            count(each.count),
            percent(each.confidence),
            percent(each.accuracy),
        ]
        for each in bins
    ]
    return Table("Bins with photos", ["bin", "photos", "mean sure", "right"], rows)


def clipping(content: ReportContent) -> ChartFigure:
    """The chart of log loss over clip bounds: what limiting probabilities gains or costs.

    The chosen bound, 0.95 and no clipping are marked.
    """
    photos = content.photos
    bounds = _bounds(photos)
    losses = [_clipped_loss(photos, bound) for bound in bounds]
    least = int(np.argmin(losses))
    return ChartFigure(
        "Log loss when clipped",
        [_clip_chart(photos, bounds, losses)],
        _bound_table(photos, (bounds[least], losses[least])),
    )


def _bounds(photos: ReportedPhotos) -> list[float]:
    # Around 0.95 and the chosen one: further out the curve only rises, or is flat.
    chosen = photos.clip_bound if photos.clip_bound is not None else FIXED_BOUND
    largest, smallest = max(0.1, 2 * (1 - chosen)), min(1e-4, (1 - chosen) / 2)
    bounds = 1 - np.geomspace(largest, max(smallest, 1e-6), 90)
    return [float(each) for each in bounds if each > 1 / len(photos.labels)]


def _clip_chart(
    photos: ReportedPhotos, bounds: list[float], losses: list[float]
) -> Chart:
    unclipped = _clipped_loss(photos, None)
    # At full height one confident mistake would flatten the rest of the curve.
    y = axis_over("log loss", [*losses, min(unclipped, 1.2 * max(losses))])
    x = _bound_axis(bounds)
    curve = [(_nines(b), value) for b, value in zip(bounds, losses, strict=True)]
    inside = [] if unclipped > y.high else [(x.low, unclipped), (x.high, unclipped)]
    none = Line(f"no clipping: {loss(unclipped)}", inside, "guide")
    marks = [_mark(photos, FIXED_BOUND, "two", "the course's")]
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
    ticks = tuple((_nines(each), f"{each:g}") for each in _BOUND_TICKS)
    inside = [tick for tick in ticks if low - 1e-6 <= tick[0] <= high + 1e-6]
    room = [
        tick
        for before, tick in pairwise([(-math.inf, ""), *inside])
        if tick[0] - before[0] > _TICK_DISTANCE * (high - low)
    ]
    return Axis("clip bound", low, high, tuple(room))


def _nines(bound: float) -> float:
    return -math.log10(1 - bound)


def _bound_table(photos: ReportedPhotos, least: tuple[float, float]) -> Table:
    bounds: list[tuple[str, float | None]] = [("none", None), ("0.95", FIXED_BOUND)]
    if photos.clip_bound is not None:
        bounds.append(("chosen", photos.clip_bound))
    rows = [
        [name, f"{bound:g}" if bound else "-", loss(_clipped_loss(photos, bound))]
        for name, bound in bounds
    ]
    rows.append(["least here", f"{least[0]:.5g}", loss(least[1])])
    return Table("Log loss at these bounds", ["bound", "at most", "log loss"], rows)


def _clipped_loss(photos: ReportedPhotos, bound: float | None) -> float:
    return log_loss(clip(photos.probabilities, bound), photos.classes)
