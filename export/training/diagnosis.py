"""Diagnosis of a training run: one finding, the figures that show it, and remedies.

The signs of underfitting and overfitting are those of the fast.ai course (2016), lesson
3; that of overconfidence is Guo et al. 2017, arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.recipes.catalogue import EXACT, Recipe
from export.recipes.remedies import Kind, remedies
from export.training.checkpoints import Epoch

FEWEST_PHOTOS: Final = 20
"""Least validation photos; with fewer, only a run that diverged can be seen."""

ENOUGH_PHOTOS: Final = 10
"""Validation photos a class; with fewer, a label that is never called means little."""

PERFECT_ACCURACY: Final = 0.99
TINY_LOSS: Final = 0.05
"""Nothing is wrong with a run that reaches both on validation photos."""

VISIBLE_LOSS: Final = 0.02
VISIBLE_SHARE: Final = 0.1
"""A loss has risen when it did by this much, and by this share of itself."""

GAP: Final = 0.05
"""Accuracy lost on validation photos, besides their noise, that is worth a remedy."""

HIGH_ACCURACY: Final = 0.97
"""Validation accuracy above which a worse training accuracy is only dropout at work."""

SWING: Final = 0.1
"""Mean change of a loss from epoch to epoch, in nats, that is more than noise."""

OVERCONFIDENT: Final = 1.3
"""Temperature above which probabilities claim clearly more than they know."""

RateFault = Literal["diverged", "unstable", "slow"]
"""The first two: too large a learning rate. "slow": too small a one."""


@dataclass(frozen=True)
class Diagnosis:
    """The finding about a run, the figures that show it, and remedies, best first."""

    kind: Kind
    evidence: str
    remedies: tuple[str, ...] = ()


def diagnose(
    history: Sequence[Epoch],
    metrics: Mapping[str, Any],
    temperature: float,
    recipe: Recipe,
) -> Diagnosis:
    """The diagnosis of a run of *recipe*: the first fault that is found, or well fit.

    It is based on the run's *history*, the *metrics* of its validation photos
    (`evaluate_logits`) and the fitted *temperature*. Members and folds are judged together.
    The training figures include dropout and augmentation, so they may be worse than those
    of validation.
    """
    kind, evidence, stage = next(_findings(_Run(history, metrics, temperature, recipe)))
    return Diagnosis(kind, evidence, remedies(kind, recipe, stage))


def rate_fault(losses: Sequence[float], chance: float) -> RateFault | None:
    """The fault of a stage's learning rate, by the training *losses* of its epochs.

    *chance*: the loss of guessing, in nats. Too large a rate ends in a loss above its
    start or above guessing, or makes it swing; with too small a one it hardly falls, or
    falls steadily and is not done.
    """
    if not np.isfinite(losses).all():
        return "diverged"
    first, last = losses[0], losses[-1]
    least, peak = min(losses), max(losses)
    jumped = peak > 1.5 * first + SWING or first > 3 * chance
    if last > 0.9 * chance and (jumped or last > 2 * least + SWING):
        return "diverged"
    changes = np.diff(losses[1:])
    if len(changes) < 3:
        return None
    rises, falls = changes[changes > 0].sum(), -changes[changes < 0].sum()
    swing = float(np.abs(changes).mean())
    if swing > max(SWING, 0.2 * float(np.mean(losses[1:]))) and rises > falls / 2:
        return "unstable"
    quarter = len(losses) // 4
    early, late = float(np.mean(losses[:quarter])), float(np.mean(losses[-quarter:]))
    still = late > 0.9 * early
    steady = rises < falls / 4 and losses[-1 - quarter] - last > 0.05 * last
    if (still and late > 0.5 * chance) or steady:
        return "slow"
    return None


class _Figures(NamedTuple):
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float

    def __str__(self) -> str:
        training = f"training accuracy {self.accuracy:.3f}"
        return f"{training}, validation accuracy {self.val_accuracy:.3f}"


class _Run:
    """The figures of a run that a diagnosis is based on.

    Attributes:
        stage: the stage whose weights were kept, from 1.
        stages: the members' epochs of that stage.
        best: figures of the epochs whose weights were kept, means over members.
        end: of at most three epochs that came last, if they came after those.
        noise: twice the standard error of the validation accuracy.
        chance: log loss of guessing by the labels' shares.
    """

    def __init__(
        self,
        history: Sequence[Epoch],
        metrics: Mapping[str, Any],
        temperature: float,
        recipe: Recipe,
    ) -> None:
        self.temperature, self.recipe = temperature, recipe
        self.images = int(metrics["images"])
        self.counts: NDArray[Any] = np.array(metrics["confusion_matrix"])
        shares = self.counts.sum(axis=1) / self.images
        self.commonest = float(shares.max())
        self.chance = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
        self.accuracy = float(np.trace(self.counts)) / self.images
        self.noise = 2 * (self.accuracy * (1 - self.accuracy) / self.images) ** 0.5
        self.history = history
        self.stage, self.stages = len(recipe.stages), []
        kept, end = [], []
        for _, group in groupby(history, key=lambda epoch: epoch.member):
            epochs = list(group)
            # Of equal losses the later stage's: it began with the weights before it.
            best = min(epochs, key=lambda epoch: (epoch.val_loss, -epoch.stage))
            self.stage = best.stage
            self.stages.append([each for each in epochs if each.stage == best.stage])
            kept.append([best])
            last = [each for each in self.stages[-1][-3:] if each.number > best.number]
            end.append(last or [best])
        self.best, self.end = _mean(kept), _mean(end)

    def where(self, stage: int) -> str:
        """The name of *stage*, where there are several."""
        several = len(self.recipe.stages) > 1
        return f" of stage {stage}" if several else ""


def _mean(members: Sequence[Sequence[Epoch]]) -> _Figures:
    names = _Figures._fields
    rows = [
        [np.mean([getattr(epoch, name) for epoch in epochs]) for name in names]
        for epochs in members
    ]
    return _Figures(*np.mean(rows, axis=0)) if rows else _Figures(*[np.nan] * 4)


_Finding = tuple[Kind, str, int]
"""The diagnosis, its evidence, and the stage that shows it."""


def _findings(run: _Run) -> Iterator[_Finding]:
    yield from _not_finite(run)
    if run.images < FEWEST_PHOTOS:
        evidence = (
            f"luck decides the figures of {run.images} validation photos: there should "
            f"be {FEWEST_PHOTOS} at least"
        )
        yield "too few photos", evidence, run.stage
    perfect = run.accuracy >= PERFECT_ACCURACY and not run.best.val_loss > TINY_LOSS
    if not perfect:
        yield from _rate_faults(run)
        yield from _collapsed(run)
        yield from _guessing(run)
        yield from _not_converged(run)
        yield from _overfit(run)
        yield from _underfit(run)
        yield from _overconfident(run)
    figures = (
        f"{run.best}" if run.history else f"validation accuracy {run.accuracy:.3f}"
    )
    yield "well fit", f"{figures}: nothing stands out", run.stage


def _not_finite(run: _Run) -> Iterator[_Finding]:
    for epoch in run.history:
        if not np.isfinite([epoch.loss, epoch.val_loss]).all():
            evidence = f"the loss is no number in epoch {epoch.number}"
            yield "diverged", evidence + run.where(epoch.stage), epoch.stage


def _rate_faults(run: _Run) -> Iterator[_Finding]:
    for stage in sorted({epoch.stage for epoch in run.history}):
        here = [epoch for epoch in run.history if epoch.stage == stage]
        losses = [
            [epoch.loss for epoch in epochs]
            for _, epochs in groupby(here, key=lambda epoch: epoch.member)
        ]
        faults = [rate_fault(each, run.chance) for each in losses]
        shown, where = losses[-1], run.where(stage)
        if 2 * faults.count("diverged") > len(faults):
            evidence = (
                f"training loss {shown[0]:.3f} in the first epoch{where}, "
                f"{min(shown):.3f} in the best and {shown[-1]:.3f} in the last"
            )
            yield "diverged", evidence, stage
        if 2 * faults.count("unstable") > len(faults):
            swing = np.abs(np.diff(shown)).mean()
            evidence = (
                f"training loss{where} swings by {swing:.3f} from epoch to epoch, "
                f"between {min(shown):.3f} and {max(shown):.3f}"
            )
            yield "unstable", evidence, stage


def _collapsed(run: _Run) -> Iterator[_Finding]:
    called, present = (run.counts.sum(axis=axis) > 0 for axis in (0, 1))
    enough = run.images >= ENOUGH_PHOTOS * len(run.counts)
    if enough and 2 * called.sum() <= present.sum():
        evidence = f"it calls only {called.sum()} of {present.sum()} labels"
        yield "collapsed", evidence, run.stage


def _guessing(run: _Run) -> Iterator[_Finding]:
    reached = max(run.best.accuracy, run.best.val_accuracy)
    lost = run.best.val_loss > 0.9 * run.chance
    if reached <= run.commonest + run.noise and lost and not _is_falling(run):
        evidence = f"{run.best}; the commonest label alone reaches {run.commonest:.3f}"
        yield "no better than guessing", evidence, run.stage


def _not_converged(run: _Run) -> Iterator[_Finding]:
    if _is_falling(run):
        first, last = run.stages[-1][0], run.stages[-1][-1]
        evidence = (
            f"validation loss was still falling in the last epoch: {first.val_loss:.3f} "
            f"in the first, {last.val_loss:.3f} in epoch {last.number}"
        )
        yield "not converged", evidence, run.stage


def _is_falling(run: _Run) -> bool:
    falling = []
    for epochs in run.stages:
        before, last = epochs[-min(4, len(epochs))], epochs[-1]
        stage = run.recipe.stages[last.stage - 1]
        fall = before.val_loss - last.val_loss
        falling.append(
            last.val_loss == min(epoch.val_loss for epoch in epochs)
            and last.loss < before.loss
            and fall > max(VISIBLE_LOSS / 2, VISIBLE_SHARE / 2 * last.val_loss)
            # A solved stage's history ends with its best step.
            and (stage.optimizer != EXACT or last.number == stage.epochs)
        )
    return 2 * sum(falling) > len(falling)


def _overfit(run: _Run) -> Iterator[_Finding]:
    best, end = run.best, run.end
    if best.accuracy > best.val_accuracy + run.noise + GAP:
        yield "overfit", f"{best}", run.stage
    # Few photos make the validation loss noisy.
    visible = max(VISIBLE_LOSS, VISIBLE_SHARE * best.val_loss, 0.3 * run.images**-0.5)
    rises = end.val_loss > max(best.val_loss + visible, TINY_LOSS)
    if rises and end.loss < best.loss and end.accuracy > end.val_accuracy + GAP / 2:
        evidence = (
            f"after its best epoch validation loss rose from {best.val_loss:.3f} to "
            f"{end.val_loss:.3f} while training loss fell from {best.loss:.3f} to "
            f"{end.loss:.3f}; the best epoch's weights were kept"
        )
        yield "overfit", evidence, run.stage


def _underfit(run: _Run) -> Iterator[_Finding]:
    training, validation = run.best.accuracy, run.best.val_accuracy
    behind = training < validation - run.noise - GAP / 2
    if behind and validation < HIGH_ACCURACY:
        yield "underfit", f"{run.best}: too much dropout or augmentation", run.stage
    if max(training, validation) < (1 + run.commonest) / 2:
        evidence = f"{run.best}: less than halfway from guessing to perfect"
        yield "underfit", evidence, run.stage


def _overconfident(run: _Run) -> Iterator[_Finding]:
    if run.temperature > OVERCONFIDENT:
        evidence = f"logits are {run.temperature:.2f} times too large"
        yield "overconfident", f"{evidence} (the fitted temperature)", run.stage
