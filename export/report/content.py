"""Content of a report: plain values, no run folder and no HTML.

Only title and photos are needed; a section whose input is missing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.evaluation.metrics import ScoreInterval
from export.training.checkpoints import Epoch
from export.training.diagnosis import Diagnosis
from models.probabilities import Probabilities, softmax

_SMALLEST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class ReportedPhotos:
    """N labelled photos and the model's probabilities for them.

    Attributes:
        labels: K names, in column order of the probabilities.
        files: N paths; only the photos that are shown are read.
        classes: true class numbers [N].
        probabilities: calibrated and unclipped [N, K].
        clip_bound: upper bound of a probability in a submission; None clips nothing.
        temperature: it calibrated the probabilities; None where it is not known.
    """

    labels: Sequence[str]
    files: Sequence[Path]
    classes: NDArray[np.int64]
    probabilities: NDArray[Any]
    clip_bound: float | None = None
    temperature: float | None = None

    def uncalibrated(self) -> Probabilities | None:
        """The probabilities before the temperature [N, K]; None if it is not known.

        softmax(z) is softmax(T ln p) for p = softmax(z / T): logits are known from
        their softmax up to a constant in each row, which the next softmax drops.
        """
        if self.temperature is None:
            return None
        rows = np.asarray(self.probabilities, dtype=np.float64)
        return softmax(np.log(np.maximum(rows, _SMALLEST)), 1 / self.temperature)


@dataclass(frozen=True)
class ReportedStage:
    """One stage of one model: the layers it trained, its epochs and its end.

    Attributes:
        number: of the stage, from 1.
        model: "fold 2 of 5", "member 1 of 3"; "" where there is only one.
        trains: the recipe's name for the trained layers, such as "head".
        parameters: the number of trained ones; None where the run does not record it.
        optimizer: "exact" where the learning rate is a strength of regularisation.
        epochs: the number of epochs that it took.
        kept: the epoch whose weights it ended with; 0: those that it began with.
        ended: why it stopped.
    """

    number: int
    model: str
    trains: str
    parameters: int | None
    optimizer: str
    epochs: int
    kept: int
    ended: str


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report can show.

    Attributes:
        note: sentences below the title, on recipe and weights.
        figures: further headline figures, name and formatted value.
        expected_score: Kaggle's score to expect of a submission.
        epochs: the points of the training curves.
        stages: what each stage trained, for each model.
        models: the names of the models in ``epochs`` where there are several.
        diagnosis: the finding about the run, and the remedies.
        counts: photos per part ("train", "valid", ...) and label.
        card: the model card's fields, or those known before it is published.
        augmentations: uint8 [rows, columns, H, W, 3]; a row is one photo, varied.
        classifier: flat functional Keras model, float32 RGB pixels 0..255
            [N, H, W, 3] -> logits [N, K]; of an ensemble, one member. Its layers that
            were not trained are not ``trainable``.
    """

    title: str
    photos: ReportedPhotos
    note: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    expected_score: ScoreInterval | None = None
    epochs: tuple[Epoch, ...] = ()
    stages: tuple[ReportedStage, ...] = ()
    models: Mapping[int, str] = field(default_factory=dict)
    diagnosis: Diagnosis | None = None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    augmentations: NDArray[np.uint8] | None = None
    classifier: Any = None
