"""Figures of the report as tables: what each section shows, before any HTML.

Each section's function takes the content and gives what its template shows; None where
its input is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from export.evaluation.metrics import COVERAGE, confusion_matrix, per_class
from export.report.content import ReportContent, ReportedPhotos
from models.probabilities import accuracy, clip, log_loss

MOST_CONFUSIONS: Final = 8
LONGEST_LIST: Final = 16
"""Lists on the card with more entries are counted, not written out."""

_SPACE: Final = "\N{NO-BREAK SPACE}"
_NORMAL_95: Final = 1.959964


class Table(NamedTuple):
    """A table of written cells; the first column names the row."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: Sequence[str] = ()

    @property
    def words(self) -> list[bool]:
        """Which columns hold words: these align left, numbers right."""
        return [
            not all(_is_number(row[column]) for row in self.rows)
            for column in range(len(self.head))
        ]


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell == "-"


class Tile(NamedTuple):
    """A headline figure, and a remark on how to read it."""

    name: str
    value: str
    remark: str = ""


class Headline(NamedTuple):
    """The tiles, and the log loss of giving every label the same probability."""

    tiles: Sequence[Tile]
    guess: float


def headline_figures(content: ReportContent) -> Headline:
    """The headline figures: accuracy and log losses, which people compare first."""
    photos = content.photos
    share = accuracy(photos.probabilities, photos.classes)
    low, high = wilson_interval(share, len(photos.classes))
    tiles = [
        Tile("Photos", count(len(photos.classes)), f"{len(photos.labels)} labels"),
        Tile(
            "Accuracy",
            percent(share),
            f"95 % interval {percent(low)} to {percent(high)}",
        ),
        *_losses(photos),
    ]
    if (score := content.expected_score) is not None:
        sure = f"{percent(COVERAGE, 0)} interval"
        span = f"{sure} {loss(score.low)} to {loss(score.high)}"
        tiles.append(Tile("Expected Kaggle score", loss(score.mean), span))
    tiles += [Tile(name, value) for name, value in content.figures.items()]
    return Headline(tiles, math.log(len(photos.labels)))


def _losses(photos: ReportedPhotos) -> Iterator[Tile]:
    raw, calibrated = photos.uncalibrated(), "as served"
    if raw is not None:
        value = log_loss(raw, photos.classes)
        yield Tile("Log loss, raw", loss(value), "before calibration")
        calibrated = f"divided by temperature {photos.temperature:.3f}"
    value = log_loss(photos.probabilities, photos.classes)
    yield Tile("Log loss, calibrated", loss(value), calibrated)
    if (bound := photos.clip_bound) is not None:
        clipped = log_loss(clip(photos.probabilities, bound), photos.classes)
        yield Tile("Log loss, clipped", loss(clipped), f"at most {bound:g}")


def wilson_interval(share: float, total: int) -> tuple[float, float]:
    """The 95 % interval of a *share* seen in *total* trials (Wilson 1927)."""
    squared = _NORMAL_95**2
    centre = (share + squared / (2 * total)) / (1 + squared / total)
    spread = math.sqrt(share * (1 - share) / total + squared / (4 * total**2))
    half = _NORMAL_95 * spread / (1 + squared / total)
    return max(0.0, centre - half), min(1.0, centre + half)


class TrainingData(NamedTuple):
    """Photos of each label, and of all labels."""

    table: Table
    photos: int


def training_data(content: ReportContent) -> TrainingData | None:
    """Numbers of photos of each label: a column for each part of the split."""
    parts = content.counts
    if not parts:
        return None
    totals = {part: sum(counts.values()) for part, counts in parts.items()}
    everything = sum(totals.values())
    several = len(parts) > 1
    rows = []
    for label in content.photos.labels:
        each = [counts.get(label, 0) for counts in parts.values()]
        share = percent(sum(each) / everything) if everything else "-"
        both = [count(sum(each))] if several else []
        rows.append([label, *map(count, each), *both, share])
    both = [count(everything)] if several else []
    foot = ["all", *map(count, totals.values()), *both, "100 %"]
    head = ["label", *parts, *(["all"] if several else []), "share"]
    return TrainingData(Table("Photos by label", head, rows, foot), everything)


class ConfusionRow(NamedTuple):
    """The photos of one label: how many are called each label, and their total."""

    label: str
    called: Sequence[int]
    total: int


class ConfusionMatrix(NamedTuple):
    """The matrix; ``most``: its most frequent confusions, if there are three labels or more."""

    labels: Sequence[str]
    rows: Sequence[ConfusionRow]
    most: Table | None


def confusion(content: ReportContent) -> ConfusionMatrix:
    """The confusion matrix of the photos, and its most frequent confusions."""
    labels = content.photos.labels
    matrix = confusion_matrix(content.photos.probabilities, content.photos.classes)
    rows = [
        ConfusionRow(label, called, sum(called))
        for label, called in zip(labels, matrix, strict=True)
    ]
    return ConfusionMatrix(labels, rows, _most_frequent(matrix, labels))


def _most_frequent(
    matrix: Sequence[Sequence[int]], labels: Sequence[str]
) -> Table | None:
    counts = np.array(matrix)
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(labels)) for place in order]
    rows = [
        [
            f"{labels[true]} called {labels[called]}",
            count(int(counts[true, called])),
            percent(counts[true, called] / totals[true]),
        ]
        for true, called in pairs
        if counts[true, called]
    ]
    if len(labels) < 3 or not rows:
        return None
    head = ["confusion", "photos", "share of label"]
    return Table("Confusions that happen most", head, rows)


def label_figures(content: ReportContent) -> Table:
    """Precision, recall and F1 of every label, and their plain means."""
    photos = content.photos
    found = per_class(photos.probabilities, photos.classes, photos.labels)
    rows = [
        [
            each.label,
            percent(each.precision),
            percent(each.recall),
            percent(each.f1),
            count(each.support),
        ]
        for each in found
    ]
    present = [each for each in found if each.support]
    means = [
        percent(float(np.mean([getattr(each, name) for each in present])))
        for name in ("precision", "recall", "f1")
    ]
    foot = ["mean of labels", *means, count(sum(each.support for each in found))]
    head = ["label", "precision", "recall", "F1", "photos"]
    return Table("Precision, recall and F1 by label", head, rows, foot)


class Layers(NamedTuple):
    """The table of layers, and their numbers of parameters and of trained ones."""

    table: Table
    parameters: int
    trained: int


def layers(content: ReportContent) -> Layers | None:
    """The network's layers: name, type, output shape, parameters and trained ones."""
    if content.classifier is None:
        return None
    # Keras takes seconds to import: only where there is a network.
    from export.report.network import list_layers

    found = list_layers(content.classifier)
    total = sum(layer.parameters for layer in found)
    trained = sum(layer.trained for layer in found)
    rows = [
        [
            layer.name,
            layer.kind,
            " x ".join(str(side or "any") for side in layer.output_shape),
            count(layer.parameters),
            count(layer.trained),
        ]
        for layer in found
    ]
    head = ["layer", "type", "output", "parameters", "trained"]
    foot = ["all", "", "", count(total), count(trained)]
    return Layers(Table("Layers, from the pixels on", head, rows, foot), total, trained)


class Precisions(NamedTuple):
    """The table of precisions, and a sentence on what decided between them."""

    table: Table
    summary: str
    processor: str


def precisions(content: ReportContent) -> Precisions | None:
    """Quality and speed of the version's precision and of those it was compared with."""
    compared = content.card.get("precisions")
    if not compared:
        return None
    found = compared["figures"]
    batches = list(found[0]["images_per_second"])
    rows = [
        [
            each["precision"],
            "-" if each["accuracy"] is None else percent(each["accuracy"], 2),
            "-" if each["log_loss"] is None else loss(each["log_loss"]),
            *(f"{each['images_per_second'][batch]:.1f}" for batch in batches),
        ]
        for each in found
    ]
    speeds = [f"images/s, batch {batch}" for batch in batches]
    head = ["precision", "accuracy", "log loss", *speeds]
    table = Table("Quality and speed by precision", head, rows)
    return Precisions(table, compared["summary"], compared["processor"])


def card(content: ReportContent) -> Table | None:
    """The model card: a row for each fact; the name of a nested one begins with the outer."""
    rows = list(_facts("", content.card))
    return Table("Model card", ["fact", "value"], rows) if rows else None


def _facts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            words = str(key).replace("_", " ")
            yield from _facts(f"{name}, {words}" if name else words, inner)
    elif value not in ("", None) or name == "clip bound":
        yield name, _fact(value)


def _fact(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    if any(isinstance(each, Mapping | list | tuple) for each in value):
        return f"{len(value)} rows"
    if len(value) > LONGEST_LIST:
        return f"{len(value)} entries"
    return ", ".join(_fact(each) for each in value)


def percent(share: float, digits: int = 1) -> str:
    """0.8734 -> 87.3 %, never broken before the sign; "-" where there is no share."""
    return f"{100 * share:.{digits}f}{_SPACE}%" if math.isfinite(share) else "-"


def loss(value: float) -> str:
    """A log loss, in nats, with the four digits that leaderboards compare."""
    return f"{value:.4f}"


def count(number: int) -> str:
    """A count with its thousands apart."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """1 photo, 2 photos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
