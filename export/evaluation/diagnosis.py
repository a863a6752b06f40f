"""What is wrong with a training run, and how one sees it.

The signs of underfitting and overfitting are those of the fast.ai course (2016), lesson
3; that of overconfidence is Guo et al. 2017, arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from export.evaluation.cures import CURES, Kind
from export.stages.history import Epoch

RISE: Final = 1.05
"""Validation loss over its best that is no accident of one epoch any more."""

GAP: Final = 0.05
"""Accuracy lost on validation photos, besides their noise, that is worth a remedy."""

OVERCONFIDENT: Final = 1.3
"""Temperature above which probabilities claim clearly more than they know."""

ENOUGH_PHOTOS: Final = 10
"""Validation photos a class; with fewer, a label that is never called means little."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong, the figures that show it, and cures, best first."""

    kind: Kind
    evidence: str
    cures: tuple[str, ...]


def diagnose(
    history: Sequence[Epoch], metrics: Mapping[str, Any], temperature: float
) -> tuple[Diagnosis, ...]:
    """What *history*, `evaluate_logits`' *metrics* and the *temperature* show.

    Nothing, if nothing is wrong. Each member is judged by its last stage. The training
    figures include dropout and augmentation, which is why they may be the worse ones.
    """
    collapsed = _collapsed(metrics)
    signs: dict[Kind, str | None] = {
        "collapsed": collapsed,
        "underfit": _underfit(history, metrics) if history and not collapsed else None,
        "overfit": _overfit(history, metrics) if history else None,
        "overconfident": _overconfident(temperature),
    }
    return tuple(
        Diagnosis(kind, evidence, CURES[kind])
        for kind, evidence in signs.items()
        if evidence
    )


def _collapsed(metrics: Mapping[str, Any]) -> str | None:
    counts = np.array(metrics["confusion_matrix"])
    called, present = (counts.sum(axis=axis) > 0 for axis in (0, 1))
    enough = metrics["images"] >= ENOUGH_PHOTOS * len(counts)
    if not enough or 2 * called.sum() > present.sum():
        return None
    return f"it calls only {called.sum()} of {present.sum()} labels"


def _underfit(history: Sequence[Epoch], metrics: Mapping[str, Any]) -> str | None:
    training, validation, noise = _accuracies(history, metrics)
    figures = f"training accuracy {training:.3f}, validation accuracy {validation:.3f}"
    if training < validation - noise:
        return f"{figures}: too much dropout or augmentation"
    shares = np.array(metrics["confusion_matrix"]).sum(axis=1) / metrics["images"]
    if max(training, validation) < (1 + float(shares.max())) / 2:
        return f"{figures}: less than halfway from guessing to perfect"
    return None


def _overfit(history: Sequence[Epoch], metrics: Mapping[str, Any]) -> str | None:
    for stage in _last_stages(history):
        best, last = _best(stage), stage[-1]
        if last.loss < best.loss and last.val_loss > RISE * best.val_loss:
            return (
                f"after epoch {best.number} of {last.number} validation loss rose from "
                f"{best.val_loss:.3f} to {last.val_loss:.3f} while training loss fell "
                f"from {best.loss:.3f} to {last.loss:.3f}"
            )
    training, validation, noise = _accuracies(history, metrics)
    if training > validation + noise + GAP:
        return f"training accuracy {training:.3f}, validation only {validation:.3f}"
    return None


def _accuracies(
    history: Sequence[Epoch], metrics: Mapping[str, Any]
) -> tuple[float, float, float]:
    best = [_best(stage) for stage in _last_stages(history)]
    training = float(np.mean([epoch.accuracy for epoch in best]))
    validation = float(np.mean([epoch.val_accuracy for epoch in best]))
    noise = 2 * (validation * (1 - validation) / metrics["images"]) ** 0.5
    return training, validation, noise


def _overconfident(temperature: float) -> str | None:
    if temperature <= OVERCONFIDENT:
        return None
    return f"logits are {temperature:.2f} times too large (the fitted temperature)"


def _last_stages(history: Sequence[Epoch]) -> list[list[Epoch]]:
    members = groupby(history, key=lambda epoch: epoch.member)
    epochs = [list(group) for _, group in members]
    return [[each for each in one if each.stage == one[-1].stage] for one in epochs]


def _best(stage: Sequence[Epoch]) -> Epoch:
    return min(stage, key=lambda epoch: epoch.val_loss)
