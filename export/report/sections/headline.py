"""The figures that people compare first."""

from __future__ import annotations

import math
from collections.abc import Iterator

from export.evaluation.metrics import COVERAGE
from export.report.content import ReportContent, ReportedPhotos
from export.report.drawing.markup import Markup, join, paragraph, text
from export.report.drawing.numbers import count, loss, percent
from models.probabilities import accuracy, clip, log_loss

_NORMAL_95 = 1.959964


def headline_section(content: ReportContent) -> Markup:
    """Accuracy and log losses as tiles, each with a word on how to read it."""
    tiles = join(_tile(*each) for each in _figures(content))
    guess = math.log(len(content.photos.labels))
    note = (
        "Log loss is Kaggle's, in nats: the mean of ln(1/p), where p is the probability "
        "given to the true label. Lower is better; the same p for every label scores "
        f"{loss(guess)}."
    )
    return Markup(f'<dl class="figures">{tiles}</dl>{paragraph(note, quiet=True)}')


def wilson_interval(share: float, total: int) -> tuple[float, float]:
    """The 95 % interval of a *share* seen in *total* trials (Wilson 1927)."""
    squared = _NORMAL_95**2
    centre = (share + squared / (2 * total)) / (1 + squared / total)
    spread = math.sqrt(share * (1 - share) / total + squared / (4 * total**2))
    half = _NORMAL_95 * spread / (1 + squared / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def _figures(content: ReportContent) -> Iterator[tuple[str, str, str]]:
    photos = content.photos
    share = accuracy(photos.probabilities, photos.classes)
    low, high = wilson_interval(share, len(photos.classes))
    yield "Photos", count(len(photos.classes)), f"{len(photos.labels)} labels"
    yield "Accuracy", percent(share), f"95 % interval {percent(low)} to {percent(high)}"
    yield from _losses(photos)
    if (score := content.expected_score) is not None:
        sure = f"{percent(COVERAGE, 0)} interval"
        span = f"{sure} {loss(score.low)} to {loss(score.high)}"
        yield "Expected Kaggle score", loss(score.mean), span
    for name, value in content.figures.items():
        yield name, value, ""


def _losses(photos: ReportedPhotos) -> Iterator[tuple[str, str, str]]:
    raw, calibrated = photos.uncalibrated(), "as served"
    if raw is not None:
        yield "Log loss, raw", loss(log_loss(raw, photos.classes)), "before calibration"
        calibrated = f"divided by temperature {photos.temperature:.3f}"
    value = log_loss(photos.probabilities, photos.classes)
    yield "Log loss, calibrated", loss(value), calibrated
    if (bound := photos.clip_bound) is not None:
        clipped = log_loss(clip(photos.probabilities, bound), photos.classes)
        yield "Log loss, clipped", loss(clipped), f"at most {bound:g}"


def _tile(name: str, value: str, remark: str) -> Markup:
    below = f"<small>{text(remark)}</small>" if remark else ""
    return Markup(
        f"<div><dt>{text(name)}</dt><dd><b>{text(value)}</b>{below}</dd></div>"
    )
