"""The reliability diagram: is 90 % sure right nine times in ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from export.evaluation.metrics import (
    ReliabilityBin,
    expected_calibration_error,
    reliability_bins,
)
from export.report.charts import (
    Bars,
    Chart,
    Line,
    Marks,
    axis_over,
    chart_figure,
    share_axis,
)
from export.report.content import ReportContent
from export.report.drawing.markup import Markup, details, panels, paragraph, table
from export.report.drawing.numbers import count, percent

BINS: Final = 15


def reliability_section(content: ReportContent) -> Markup:
    """Confidence against accuracy, before the temperature (if known) and after."""
    photos = content.photos
    shown = [("As served", photos.probabilities)]
    if (raw := photos.uncalibrated()) is not None:
        after = f"After calibration, temperature {photos.temperature:.3f}"
        shown = [("Before calibration", raw), (after, photos.probabilities)]
    diagrams = [_Diagram.of(title, rows, photos.classes) for title, rows in shown]
    # One scale of counts, so that before and after can be compared.
    fullest = max(each.count for diagram in diagrams for each in diagram.bins)
    figures = [_figure(diagram, fullest) for diagram in diagrams]
    note = (
        f"Photos are put into {BINS} bins by the probability of the label that they "
        "are called. Where bars reach above the dashed line the model is too modest, "
        "where they stay below it too sure. The expected calibration error (ECE) is "
        "the mean gap, weighted by photos; small bins scatter by chance."
    )
    return Markup(paragraph(note, quiet=True) + panels(figures))


@dataclass(frozen=True)
class _Diagram:
    title: str
    bins: tuple[ReliabilityBin, ...]

    @classmethod
    def of(
        cls, title: str, probabilities: NDArray[Any], classes: NDArray[Any]
    ) -> _Diagram:
        error = expected_calibration_error(probabilities, classes, BINS)
        bins = reliability_bins(probabilities, classes, BINS)
        filled = tuple(each for each in bins if each.count)
        return cls(f"{title}: ECE {percent(error)}", filled)


def _figure(diagram: _Diagram, fullest: int) -> Markup:
    charts = [_shares(diagram), _counts(diagram, fullest)]
    below = details("Every bin in numbers", _numbers(diagram.bins))
    return chart_figure(diagram.title, charts, below)


def _shares(diagram: _Diagram) -> Chart:
    bars = [(each.lower, each.upper, each.accuracy) for each in diagram.bins]
    means = [(each.confidence, each.accuracy) for each in diagram.bins]
    described = "; ".join(
        f"at {percent(each.confidence)} sure {percent(each.accuracy)} right"
        for each in diagram.bins
    )
    return Chart(
        f"Reliability diagram. {diagram.title}. {described}.",
        share_axis(""),
        share_axis("share right"),
        [
            Bars("share right", bars),
            Line("as sure as right", [(0, 0), (1, 1)], "guide"),
            Marks("how sure, on average", means, "two"),
        ],
        height=230,
    )


def _counts(diagram: _Diagram, fullest: int) -> Chart:
    bars = [(each.lower, each.upper, each.count) for each in diagram.bins]
    described = ", ".join(
        f"{each.lower:.2f} to {each.upper:.2f}: {each.count}" for each in diagram.bins
    )
    return Chart(
        f"Photos in each bin. {described}.",
        share_axis("probability of the label called"),
        axis_over("photos", [0, fullest], intervals=2),
        [Bars("", bars, "three")],
        height=120,
    )


def _numbers(bins: Sequence[ReliabilityBin]) -> Markup:
    rows = [
        [
            f"{each.lower:.3f} to {each.upper:.3f}",
            count(each.count),
            percent(each.confidence),
            percent(each.accuracy),
        ]
        for each in bins
    ]
    return table("Bins with photos", ["bin", "photos", "mean sure", "right"], rows)
