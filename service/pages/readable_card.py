"""A model card in the words and figures of a page.

Cards come from any model server, so everything beyond the required members is taken
only if it has the shape that `export` writes; what has not is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.contract import ModelCard
from service.pages.confusion import Confusion, read_confusion

_FIGURES: Final = (
    (
        "accuracy",
        "Accuracy",
        "share of photos whose most probable label is right",
        True,
    ),
    ("log_loss_clipped", "Log loss", "as answered: calibrated and clipped", False),
    ("log_loss_calibrated", "Log loss, unclipped", "calibrated only", False),
    ("log_loss_raw", "Log loss, raw", "as the network says it", False),
    ("macro_f1", "Macro F1", "mean over the labels", True),
    (
        "calibration_error_calibrated",
        "Calibration error",
        "how far said and true frequencies differ",
        True,
    ),
)


@dataclass(frozen=True)
class Figure:
    """One number with its name, and what it means in half a sentence."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class ReadableCard:
    """What a page shows of a card beside the card itself.

    Attributes:
        figures: on validation photos.
        images: how many those were, as text; empty if unknown.
        counts: photos by part (train, valid) and label.
        recipe: its name and the options that changed it.
        parameters: how many there are and how many were trained, as text; empty if
            unknown.
        pseudo_labels: how many photos another model labelled, as text; empty if none.
        clipping: the clip bound and how it was chosen, as a sentence.
    """

    card: ModelCard
    figures: tuple[Figure, ...]
    images: str
    confusion: Confusion | None
    counts: Mapping[str, Mapping[str, int]]
    recipe: str
    parameters: str
    pseudo_labels: str
    clipping: str


def read_card(card: ModelCard) -> ReadableCard:
    """What a person wants to read of *card*."""
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
    )


def _figures(validation: Mapping[str, Any]) -> tuple[Figure, ...]:
    return tuple(
        Figure(name, f"{100 * value:.1f} %" if percent else f"{value:.3f}", meaning)
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


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
