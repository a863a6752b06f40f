"""Content of the pages: a model's versions, its card in words and figures, its drift.

Cards come from any model server, so everything beyond the required members is taken only
if it has the shape that `export` writes, and left out otherwise.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from models.contract import (
    ENOUGH_IMAGES,
    NOTABLE_PSI,
    SCORE_BINS,
    AnswerSpread,
    ModelCard,
    stability_index,
)
from models.errors import InvalidRequestError, KennelError
from models.wire.config import read_model_config
from models.wire.messages import AVAILABLE, ModelRef
from service.http.budget import Budget
from service.predict.catalog import Catalog

MAX_LABELS: Final = 20
"""Most labels of a table; of a larger matrix, only the worst pairs are shown."""

MAX_SUGGESTIONS: Final = 100
MAX_ENTRIES: Final = 2_000
"""Entries read of each folder: one with 500,000 photos must not delay a page."""

_FOLDER_DEPTH: Final = 3
_SHADES: Final = 5
_WORST: Final = 10

_MOST_ROWS: Final = 20
"""With more labels than these, only the index of a comparison is shown."""

_FIGURES: Final = (
    (
        "accuracy",
        "Accuracy",
        "share of photos whose most probable label is right",
        True,
    ),
    ("log_loss_clipped", "Log loss", "as answered: calibrated and clipped", False),
    ("log_loss_calibrated", "Log loss, unclipped", "calibrated only", False),
    ("log_loss_raw", "Log loss, raw", "as the network computes it", False),
    ("macro_f1", "Macro F1", "mean over the labels", True),
    (
        "calibration_error_calibrated",
        "Calibration error",
        "how far predicted and true frequencies differ",
        True,
    ),
)


@dataclass(frozen=True)
class VersionRow:
    """One version of a model.

    Attributes:
        state: the model server's, in lower case.
        problem: why it is not available, as a sentence; empty if nothing is known.
        labels: its labels, such as "canary".
        card: None while it is not available, or if it has no card.
        answers: whether it serves requests that name no version.
    """

    version: int
    state: str
    problem: str
    labels: tuple[str, ...]
    card: ModelCard | None
    answers: bool


def version_rows(
    catalog: Catalog, name: str, labels: dict[int, tuple[str, ...]], budget: Budget
) -> list[VersionRow]:
    """The versions of model *name*, newest first.

    Raises:
        ModelUnavailableError: the model server does not answer.
    """
    statuses = catalog.versions(name, budget.left())
    current = _current(catalog, name, budget) if statuses else None
    return [
        VersionRow(
            version=each.version,
            state=each.state.lower(),
            problem=each.problem,
            labels=labels.get(each.version, ()),
            card=catalog.published_card(name, each.version, budget.left())
            if each.state == AVAILABLE
            else None,
            answers=each.version == current,
        )
        for each in statuses
    ]


def version_labels(config_file: Path | None, name: str) -> dict[int, tuple[str, ...]]:
    """Labels of model *name* by version; none if no configuration can be read."""
    try:
        entries = read_model_config(config_file) if config_file else []
    except InvalidRequestError:
        return {}
    labels: dict[int, tuple[str, ...]] = {}
    for entry in entries:
        if entry.name == name:
            for label, version in entry.labels:
                labels[version] = (*labels.get(version, ()), label)
    return labels


def _current(catalog: Catalog, name: str, budget: Budget) -> int | None:
    try:
        return catalog.describe(ModelRef(name), budget.left()).version
    except KennelError:
        return None


@dataclass(frozen=True)
class CardFigure:
    """One number with its name and its meaning, in half a sentence."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class ReadableCard:
    """The content of a page about a card, beside the card itself.

    Attributes:
        figures: metrics on validation photos.
        images: number of validation photos, as text; empty if unknown.
        counts: photos by part (train, valid) and label.
        recipe: its name and the options that changed it.
        parameters: how many there are and how many were trained, as text; empty if
            unknown.
        pseudo_labels: how many photos another model labelled, as text; empty if none.
        clipping: the clip bound and how it was chosen, as a sentence.
        precisions: the precisions that the export compared; None if it compared none.
    """

    card: ModelCard
    figures: tuple[CardFigure, ...]
    images: str
    confusion: ConfusionTable | None
    counts: Mapping[str, Mapping[str, int]]
    recipe: str
    parameters: str
    pseudo_labels: str
    clipping: str
    precisions: PrecisionTable | None


def readable_card(card: ModelCard) -> ReadableCard:
    """What a page shows of *card*."""
    validation = _mapping(card.metrics.get("validation"))
    images = validation.get("images")
    return ReadableCard(
        card=card,
        figures=_figures(validation),
        images=f"{images:,}" if isinstance(images, int) else "",
        confusion=read_confusion(validation.get("confusion_matrix"), card.labels),
        counts=_counts(card.training.get("counts"), card.labels),
        recipe=_recipe(card.recipe, _mapping(card.training.get("options"))),
        parameters=_parameters(card.training),
        pseudo_labels=_pseudo_labels(_mapping(card.training.get("pseudo_labelled"))),
        clipping=_clipping(card),
        precisions=read_precisions(card.precisions),
    )


def _figures(validation: Mapping[str, Any]) -> tuple[CardFigure, ...]:
    return tuple(
        CardFigure(name, f"{100 * value:.1f} %" if percent else f"{value:.3f}", meaning)
        for key, name, meaning, percent in _FIGURES
        if (value := _number(validation.get(key))) is not None
    )


def _counts(counts: object, labels: tuple[str, ...]) -> dict[str, Mapping[str, int]]:
    return {
        part: {label: by_label[label] for label in labels if label in by_label}
        for part, by_label in _mapping(counts).items()
        if _holds_counts(by_label)
    }


def _holds_counts(by_label: object) -> bool:
    return bool(_mapping(by_label)) and all(
        isinstance(count, int) for count in _mapping(by_label).values()
    )


def _recipe(name: str, options: Mapping[str, Any]) -> str:
    changed = [f"--{key.replace('_', '-')} {value}" for key, value in options.items()]
    return f"{name} with {', '.join(changed)}" if changed else name


def _pseudo_labels(found: Mapping[str, Any]) -> str:
    if not isinstance(photos := found.get("photos"), int):
        return ""
    return (
        f"{photos:,} unlabelled photos, as the run {found.get('teacher')} labelled them"
    )


def _parameters(training: Mapping[str, Any]) -> str:
    counts, members = _mapping(training.get("parameters")), training.get("members")
    every, trained = counts.get("all"), counts.get("trained")
    if not isinstance(every, int) or not isinstance(trained, int):
        return ""
    several = isinstance(members, int) and members > 1
    where = f", in each of {members} members" if several else ""
    return f"{trained:,} of {every:,} were trained{where}"


def _clipping(card: ModelCard) -> str:
    if card.clip_bound is None:
        return "Probabilities are not clipped."
    lowest = (1 - card.clip_bound) / (len(card.labels) - 1)
    chosen = f" Chosen by {card.clip_choice}." if card.clip_choice else ""
    return (
        f"Probabilities stay between {100 * lowest:.4g} % and "
        f"{100 * card.clip_bound:.4g} %.{chosen}"
    )


@dataclass(frozen=True)
class PrecisionTable:
    """Quality and speed of the precisions that an export compared.

    Attributes:
        summary: what decided, and the processor that measured.
        batches: batch sizes of the measured speeds.
        rows: precision, accuracy, log loss, and images/s for each batch size.
    """

    summary: str
    batches: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def read_precisions(compared: object) -> PrecisionTable | None:
    """The table of *compared* precisions; None if it has not the shape that export writes."""
    members = _mapping(compared)
    found = members.get("figures")
    rows = [_mapping(each) for each in found] if isinstance(found, list) else []
    speeds = [_mapping(each.get("images_per_second")) for each in rows]
    if not any(speeds) or any(speeds[0].keys() != each.keys() for each in speeds):
        return None
    return PrecisionTable(
        f"{members.get('summary')}. Measured on {members.get('processor')}.",
        tuple(speeds[0]),
        tuple(_precision_row(*each) for each in zip(rows, speeds, strict=True)),
    )


def _precision_row(
    row: Mapping[str, Any], speeds: Mapping[str, Any]
) -> tuple[str, ...]:
    return (
        str(row.get("precision")),
        _number_text(row.get("accuracy"), ".2%").replace("%", " %"),
        _number_text(row.get("log_loss"), ".4f"),
        *(_number_text(each, ".1f") for each in speeds.values()),
    )


def _number_text(value: object, form: str) -> str:
    number = _number(value)
    return "-" if number is None else format(number, form)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Cell:
    """The count of one answered label for one true label.

    Attributes:
        level: share of the row, 0 (none) to 5 (all), for its shade.
        right: whether the answered label is the true one.
    """

    count: int
    level: int
    right: bool


@dataclass(frozen=True)
class ConfusionTable:
    """Rows of cells by true label, and the most frequent mistakes.

    Attributes:
        rows: empty when there are too many labels for a table.
        mistakes: (true label, answered label, photos), the most frequent first.
    """

    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    mistakes: tuple[tuple[str, str, int], ...]


def read_confusion(matrix: object, labels: Sequence[str]) -> ConfusionTable | None:
    """The confusion of *labels*; None if *matrix* is no square table of counts."""
    if not _is_matrix(matrix, len(labels)):
        return None
    counts: Sequence[Sequence[int]] = matrix  # type: ignore[assignment]
    rows = [
        (label, tuple(_cell(row, true, column) for column in range(len(labels))))
        for true, (label, row) in enumerate(zip(labels, counts, strict=True))
    ]
    fits = len(labels) <= MAX_LABELS
    return ConfusionTable(tuple(rows) if fits else (), _mistakes(counts, labels))


def _is_matrix(matrix: object, size: int) -> bool:
    return _is_row(matrix, size, list) and all(
        _is_row(row, size, int)
        for row in matrix  # type: ignore[attr-defined]
    )


def _is_row(row: object, size: int, kind: type) -> bool:
    usable = isinstance(row, list) and len(row) == size
    return usable and all(isinstance(each, kind) for each in row)  # type: ignore[attr-defined]


def _cell(row: Sequence[int], true: int, answered: int) -> Cell:
    count = row[answered]
    share = count / max(sum(row), 1)
    level = max(round(_SHADES * share), 1) if count else 0
    return Cell(count, level, true == answered)


def _mistakes(
    counts: Sequence[Sequence[int]], labels: Sequence[str]
) -> tuple[tuple[str, str, int], ...]:
    found = [
        (labels[true], labels[answered], count)
        for true, row in enumerate(counts)
        for answered, count in enumerate(row)
        if true != answered and count > 0
    ]
    return tuple(sorted(found, key=lambda each: -each[2])[:_WORST])


@dataclass(frozen=True)
class SpreadComparison:
    """Live answers compared with the answers for the validation photos.

    Attributes:
        title: scores or labels.
        index: the population stability index.
        verdict: the index in words.
        rows: name, share of the validation photos and of the live ones.
    """

    title: str
    index: str
    verdict: str
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Drift:
    """Drift of a version's answers.

    Attributes:
        images: answered since the service started.
        enough: whether these are enough for a meaningful index.
    """

    images: int
    enough: bool
    comparisons: tuple[SpreadComparison, ...]


def compare_spreads(card: ModelCard, live: AnswerSpread) -> Drift | None:
    """*live* compared with the spread in *card*; None if either has no answers."""
    expected = card.validation_spread
    if expected is None or live.images == 0:
        return None
    compared = [_compare_one("Scores", _ranges(), expected.scores, live.scores)]
    # The service counts no labels where they are too many.
    if any(live.labels):
        compared.append(
            _compare_one("Labels", card.labels, expected.labels, live.labels)
        )
    return Drift(live.images, live.images >= ENOUGH_IMAGES, tuple(compared))


def _compare_one(
    title: str, names: Sequence[str], expected: Sequence[int], live: Sequence[int]
) -> SpreadComparison:
    index = stability_index(expected, live)
    rows = zip(names, _percents(expected), _percents(live), strict=True)
    shown = tuple(rows) if len(names) <= _MOST_ROWS else ()
    return SpreadComparison(title, f"{index:.2f}", _verdict(index), shown)


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


def suggest_folders(root: Path) -> list[str]:
    """Folders below *root*, relative to it, sorted; none if it cannot be read.

    Links and hidden folders are left out, as are those deeper than three levels.
    """
    found: list[str] = []
    waiting = deque([(root, 1)])
    while waiting and len(found) < MAX_SUGGESTIONS:
        folder, depth = waiting.popleft()
        for child in _subfolders(folder):
            found.append(child.relative_to(root).as_posix())
            if depth < _FOLDER_DEPTH:
                waiting.append((child, depth + 1))
    return sorted(found[:MAX_SUGGESTIONS])


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in islice(entries, MAX_ENTRIES)
                if entry.is_dir(follow_symlinks=False) and _is_shown(entry.name)
            )
    except OSError:
        return []


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name.isprintable()
