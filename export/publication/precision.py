"""Precision of the published graph: what it costs and gains beside float32, and its guard.

A version that computes in less than float32 is published only if its answers for the
validation photos are about as good as float32's, from the same weights. Each precision is
calibrated on its own answers, as it would be served.

With folds every photo trained the exported members, so their answers say little about new
photos. The difference between two precisions shows all the same, and only that is judged:
figures and calibration stay those of the folds' models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.data.splits import classes_of
from export.evaluation.calibration import fit_temperature
from export.progress import Progress, silent
from export.publication.savedmodel import serving_signatures
from export.training.assembly import has_bfloat16
from export.training.classifier import (
    build_ensemble,
    classify_files,
    decode_files,
    in_precision,
    photo_files,
)
from export.training.runs import TrainedRun, make_card
from models.contract import (
    INT8,
    LOGITS_OUTPUT,
    MAX_BATCH_SIZE,
    SERVING_SIGNATURE,
)
from models.environment import processor_name
from models.errors import ConflictError, InvalidRequestError
from models.images.codec import Pixels
from models.probabilities import log_loss, softmax

AUTO: Final = "auto"
"""Instead of a precision: the fastest that the guard lets pass."""

FLOAT32: Final = "float32"

MAX_ACCURACY_LOSS: Final = 0.002
MAX_LOSS_INCREASE: Final = 0.003

MOST_FOLDED_PHOTOS: Final = 500
"""Photos that are compared of a run with folds: all of them would take as long as training."""

TIMED_BATCHES: Final = (1, 8, 32)
DECISIVE_BATCH: Final = 32

_SECONDS: Final = 5.0
"""Time for the measurements of one precision; each batch is computed at least once."""

_MOST_ROUNDS: Final = 20

Speeds: TypeAlias = Mapping[int, float]
"""Images/s by batch size."""

Timer: TypeAlias = Callable[[Mapping[str, Any], Pixels], Mapping[str, Speeds]]
"""Served graphs by precision, and pixels for them -> their speeds by precision."""


@dataclass(frozen=True)
class Quality:
    """How good calibrated answers for labelled photos are: right ones, and log loss."""

    photos: int
    right: int
    log_loss: float

    def __str__(self) -> str:
        """Both figures as text."""
        return f"accuracy {self.accuracy:.4f} and log loss {self.log_loss:.4f}"

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right / self.photos

    def is_as_good_as(self, exact: Quality) -> bool:
        """Whether the guard lets these answers pass beside *exact* ones for the same photos.

        One photo is the smallest step of accuracy, and of fewer than 500 photos it is more
        than 0.2 points: losing a single one never fails.
        """
        lost = exact.right - self.right
        is_right = lost <= 1 or lost / self.photos <= MAX_ACCURACY_LOSS
        return is_right and self.log_loss - exact.log_loss <= MAX_LOSS_INCREASE


@dataclass(frozen=True)
class PrecisionFigures:
    """One precision of a run: its speeds, and its quality where that was needed."""

    precision: str
    speeds: Speeds
    quality: Quality | None

    def to_card(self) -> dict[str, Any]:
        """The figures as the card has them."""
        return {
            "precision": self.precision,
            "accuracy": self.quality and self.quality.accuracy,
            "log_loss": self.quality and self.quality.log_loss,
            # JSON's keys are text.
            "images_per_second": {str(k): round(v, 2) for k, v in self.speeds.items()},
        }


@dataclass(frozen=True)
class PrecisionChoice:
    """The precision to publish a run in.

    Attributes:
        run: computes in that precision, and is calibrated on its answers.
        figures: of the compared precisions, the chosen one first; none where float32 was
            asked for.
        refused: the precisions that were faster, but not good enough.
        is_automatic: whether the speeds decided.
    """

    run: TrainedRun
    figures: tuple[PrecisionFigures, ...] = ()
    refused: tuple[str, ...] = ()
    is_automatic: bool = False

    def to_card(self) -> dict[str, Any]:
        """The card's `precisions`."""
        if not self.figures:
            return {}
        judged = [each.quality.photos for each in self.figures if each.quality]
        return {
            "summary": self.summary(),
            "processor": processor_name(),
            "photos": max(judged, default=0),
            "figures": [each.to_card() for each in self.figures],
        }

    def summary(self) -> str:
        """One sentence with the figures that decided."""
        verdict = f"about as good as {FLOAT32}"
        if self.is_automatic:
            verdict = "the fastest precision that the guard lets pass"
        speeds = [
            f"{each.precision} {each.speeds[DECISIVE_BATCH]:.3g}"
            for each in self.figures
        ]
        parts = [f"images/s at batch {DECISIVE_BATCH}: {', '.join(speeds)}"]
        judged = {each.precision: each.quality for each in self.figures if each.quality}
        if judged:
            shown = ", ".join(f"{name} {quality}" for name, quality in judged.items())
            photos = _judged(self.run, next(iter(judged.values())))
            parts.append(f"on {photos}: {shown}")
        parts += [f"{each} was refused" for each in self.refused]
        return f"{self.run.precision} is {verdict} ({'; '.join(parts)})"


def pick_precision(
    run: TrainedRun,
    wanted: str = "",
    progress: Progress = silent,
    timer: Timer | None = None,
) -> PrecisionChoice:
    """The precision to publish *run* in: *wanted*, if the guard lets it pass.

    *wanted*: "" is the run's own, `AUTO` the fastest. Of float32 nothing is measured.

    Raises:
        InvalidRequestError: "int8" of a run that was trained in another precision.
        ConflictError: the guard refuses *wanted*; the message has the figures.
        DatasetError: validation photos are gone, or answers are no numbers.
    """
    check_precision(run, wanted)
    trial = _Trial(run, progress, timer or measure_speeds)
    if wanted == AUTO:
        return _pick_fastest(trial)
    return _pick(trial, wanted or run.precision)


def check_precision(run: TrainedRun, wanted: str) -> None:
    """Accept the precision *wanted* for *run*, before anything is computed.

    Raises:
        InvalidRequestError: "int8" of a run that was trained in another precision.
    """
    if wanted == INT8 != run.plan.precision:
        message = (
            f"{run.folder.name} was trained with --precision {run.plan.precision}, and a "
            "head for eight bits learns from features in eight bits: train with "
            "--precision int8"
        )
        raise InvalidRequestError(message)


class _Trial:
    """The precisions of one run: each answers the validation photos at most once."""

    def __init__(self, run: TrainedRun, progress: Progress, timer: Timer) -> None:
        self.run = run
        self._progress = progress
        self._timer = timer
        self._runs = {run.precision: run}
        self._qualities: dict[str, Quality] = {}

    def possible(self) -> list[str]:
        """The precisions that the run has been trained for and that may be fast here."""
        found = [FLOAT32]
        if has_bfloat16():
            found.append("bfloat16")
        if self.run.plan.precision == INT8:
            found.append(INT8)
        return found

    def run_in(self, precision: str) -> TrainedRun:
        """The run in that *precision*, calibrated on its answers."""
        if precision not in self._runs:
            found = in_precision(self.run, precision, self._progress)
            self._runs[precision] = found
        return self._runs[precision]

    def quality(self, precision: str) -> Quality:
        """The quality of the answers in that *precision*."""
        if precision not in self._qualities:
            logits, classes = _answers(self.run_in(precision), self._progress)
            rows = softmax(logits, fit_temperature(logits, classes))
            right = int((rows.argmax(axis=1) == classes).sum())
            found = Quality(len(classes), right, log_loss(rows, classes))
            self._qualities[precision] = found
        return self._qualities[precision]

    def passes(self, precision: str) -> bool:
        """Whether the guard lets *precision* pass; float32 always does."""
        if precision == FLOAT32:
            return True
        return self.quality(precision).is_as_good_as(self.quality(FLOAT32))

    def speeds(self, precisions: Sequence[str]) -> Mapping[str, Speeds]:
        """The speeds of *precisions* on this machine."""
        photos = self.run.split.valid[:MAX_BATCH_SIZE]
        pixels = decode_files(self.run, photo_files(self.run, photos))
        return self._timer({each: self._graph(each) for each in precisions}, pixels)

    def figures(
        self, precisions: Sequence[str], speeds: Mapping[str, Speeds]
    ) -> tuple[PrecisionFigures, ...]:
        """The figures of *precisions*, in that order."""
        qualities = self._qualities
        return tuple(
            PrecisionFigures(each, speeds[each], qualities.get(each))
            for each in precisions
        )

    def _graph(self, precision: str) -> Any:
        run = replace(self.run, other_precision=precision)
        classifier = build_ensemble(run).join()
        return serving_signatures(classifier, make_card(run, 0))[SERVING_SIGNATURE]


def _pick(trial: _Trial, wanted: str) -> PrecisionChoice:
    if wanted == FLOAT32:
        return PrecisionChoice(trial.run_in(FLOAT32))
    if not trial.passes(wanted):
        raise ConflictError(_refusal(trial, wanted), code="precision_refused")
    compared = (wanted, FLOAT32)
    figures = trial.figures(compared, trial.speeds(compared))
    return PrecisionChoice(trial.run_in(wanted), figures)


def _pick_fastest(trial: _Trial) -> PrecisionChoice:
    speeds = trial.speeds(trial.possible())
    fastest = sorted(speeds, key=lambda each: -speeds[each][DECISIVE_BATCH])
    # Those slower than the chosen one need not be judged.
    chosen = next(each for each in fastest if trial.passes(each))
    refused = tuple(fastest[: fastest.index(chosen)])
    order = [chosen, *(each for each in fastest if each != chosen)]
    figures = trial.figures(order, speeds)
    return PrecisionChoice(trial.run_in(chosen), figures, refused, is_automatic=True)


def _refusal(trial: _Trial, wanted: str) -> str:
    exact, reduced = trial.quality(FLOAT32), trial.quality(wanted)
    others = [each for each in ("bfloat16", FLOAT32) if each != wanted]
    remedy = (
        f"validate on more photos, or export with --precision {' or '.join(others)}"
    )
    if wanted == INT8:
        remedy += (
            ", or train again with --precision int8 and another --seed or --recipe"
        )
    return (
        f"{trial.run.folder.name} is worse in {wanted} than in {FLOAT32}: {reduced} on "
        f"{_judged(trial.run, reduced)}, {exact} in {FLOAT32}. Allowed are "
        f"{100 * MAX_ACCURACY_LOSS:g} points of accuracy (or one photo) and "
        f"{MAX_LOSS_INCREASE:g} log loss. Nothing was published: {remedy}"
    )


def _judged(run: TrainedRun, quality: Quality) -> str:
    if run.recipe.folds:
        return f"{quality.photos:,} photos that trained the exported members"
    return f"{quality.photos:,} validation photos"


def _answers(
    run: TrainedRun, progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if not run.recipe.folds:
        return run.validation()
    # Evenly spaced, so that each label keeps its share.
    photos = run.split.valid[:: math.ceil(len(run.split.valid) / MOST_FOLDED_PHOTOS)]
    logits = classify_files(run, photo_files(run, photos), progress)
    return logits, classes_of(photos, run.split.labels)


def measure_speeds(graphs: Mapping[str, Any], pixels: Pixels) -> dict[str, Speeds]:
    """Images/s of served *graphs* for each of `TIMED_BATCHES` of *pixels*.

    The best of several measurements, in turn, so that another program's load falls on all
    graphs alike.
    """
    speeds: dict[str, dict[int, float]] = {precision: {} for precision in graphs}
    for batch in TIMED_BATCHES:
        # Repeats the photos where there are fewer.
        images = tf.constant(np.resize(pixels, (batch, *pixels.shape[1:])))
        for precision, seconds in _best_seconds(graphs, images).items():
            speeds[precision][batch] = batch / seconds
    return dict(speeds)


def _best_seconds(graphs: Mapping[str, Any], images: Any) -> dict[str, float]:
    best = dict.fromkeys(graphs, math.inf)
    end = time.perf_counter() + len(graphs) * _SECONDS / len(TIMED_BATCHES)
    # The first round warms up: it counts only where there is time for no other.
    for _ in range(_MOST_ROUNDS):
        for precision, graph in graphs.items():
            start = time.perf_counter()
            graph(images)[LOGITS_OUTPUT].numpy()
            best[precision] = min(best[precision], time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return best
