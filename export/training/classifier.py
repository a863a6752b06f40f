"""Trained models in Keras: pixels -> logits, and a run's answers for labelled photos.

Members and views are averaged in probability, as `mean_logits` does.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from export.data.sources.reading import read_photo
from export.data.splits import Photo, classes_of, list_photos
from export.evaluation.calibration import calibrate
from export.evaluation.metrics import evaluate_logits
from export.progress import Progress, silent
from export.training.assembly import POLICIES, assemble_recipe, ever_trained
from export.training.members import mean_logits, read_integers, read_member
from export.training.runs import TrainedRun
from models.contract import INT8, MAX_BATCH_SIZE
from models.errors import DatasetError, InvalidRequestError, quoted_names
from models.files import write_atomically
from models.images.codec import Pixels
from models.networks.freezing import CutNetwork, cut
from models.networks.heads import AssembledNetwork
from models.networks.integer_graph import in_eight_bits
from models.networks.network import flip
from models.probabilities import softmax


@dataclass(frozen=True)
class Ensemble:
    """Networks whose probabilities are averaged over views; the frozen part is shared."""

    members: tuple[CutNetwork, ...]
    views: tuple[str, ...] = ("none",)

    @property
    def is_single(self) -> bool:
        """Whether this is one network and one view, so that nothing is averaged."""
        return len(self.members) == 1 and self.views == ("none",)

    def average(self, logits: Sequence[Any]) -> Any:
        """The ensemble's logits from those of each member for each view."""
        return logits[0] if self.is_single else mean_logits(logits)

    def join(self) -> Any:
        """One Keras model: pixels 0..255 [N, H, W, 3] -> logits [N, K].

        It holds the part that no member trained only once.
        """
        first = self.members[0]
        if self.is_single and first.quantized is None:
            return first.whole
        pixels = keras.Input(first.whole.input.shape[1:], name="pixels")
        seen = [flip(pixels, view) for view in self.views]
        inputs = [first.served(each) for each in seen] if first.served else seen
        if first.quantized is not None:
            inputs = [keras.tree.map_structure(_repeat_first, each) for each in inputs]
        # Models inside a model need names of their own.
        rest = [
            keras.Model(
                each.trained.inputs, each.trained.outputs[0], name=f"member{number}"
            )
            for number, each in enumerate(self.members, start=1)
        ]
        logits = [member(values) for member in rest for values in inputs]
        average = self.average(logits)
        if first.quantized is not None:
            average = _change_rows(lambda rows: rows[:-1], average)
        return keras.Model(pixels, average, name="classifier")


def _repeat_first(features: Any) -> Any:
    # The head computes a single row by another kernel than several. With one more, a photo
    # has the same bits in every batch, as it has in the integers before the head.
    return _change_rows(lambda rows: keras.ops.concatenate([rows, rows[:1]]), features)


def _change_rows(change: Callable[[Any], Any], tensor: Any) -> Any:
    shape = tensor.shape[1:]
    return keras.layers.Lambda(change, output_shape=shape)(tensor)


def single(model: Any) -> Ensemble:
    """The ensemble of one flat Keras *model*."""
    return Ensemble((CutNetwork(None, model, model),))


def build_ensemble(run: TrainedRun) -> Ensemble:
    """The members of *run*, computing in its precision.

    Raises:
        DatasetError: weights are damaged.
    """
    policy = POLICIES[run.precision]
    members = [
        build_member(run, number, policy) for number in range(1, run.recipe.members + 1)
    ]
    stages = run.recipe.stages
    cuts = [cut(member.model, ever_trained(stages, member)) for member in members]
    if run.precision == INT8:
        quantized = in_eight_bits(cuts[0].frozen, read_integers(run.folder))
        cuts = [replace(each, quantized=quantized) for each in cuts]
    return Ensemble(tuple(cuts), run.recipe.views)


def build_member(
    run: TrainedRun, number: int, policy: str = "float32"
) -> AssembledNetwork:
    """Member *number* (from 1) of *run*, with its trained weights.

    Raises:
        DatasetError: its weights are damaged.
    """
    network = assemble_recipe(run.recipe, len(run.split.labels), policy)
    member = read_member(run.folder, number)
    if member is None:
        raise DatasetError(f"{run.folder} has no member {number}: train again")
    network.model.set_weights(list(member.weights))
    return network


def classify(classifier: Any, batch: Pixels) -> NDArray[np.float32]:
    """Logits [N, K] of a *batch*, uint8 [N, H, W, 3]."""
    pixels = batch.astype(np.float32)
    return np.asarray(classifier.predict_on_batch(pixels), dtype=np.float32)


@dataclass(frozen=True)
class PredictedPhotos:
    """Files with their true classes [N] and logits [N, K].

    ``learnt``: how many of them the run was trained on; 0 for its validation photos.
    """

    files: Sequence[str]
    classes: NDArray[np.int64]
    logits: NDArray[np.float32]
    learnt: int = 0


def predict_photos(run: TrainedRun, folder: Path | None) -> PredictedPhotos:
    """Logits for the photos in *folder*'s class folders, or for the validation photos.

    Raises:
        DatasetError: the class folders are not the run's labels.
        InvalidImageError: a photo cannot be decoded.
    """
    split = run.split
    if folder is None:
        logits, classes = run.validation()
        return PredictedPhotos([each.file for each in split.valid], classes, logits)
    photos = list_photos(folder)
    if unknown := sorted({each.label for each in photos} - set(split.labels)):
        message = (
            f"{folder} has the labels {quoted_names(unknown)}, which the model does not "
            f"know: it knows {quoted_names(split.labels)}"
        )
        raise DatasetError(message)
    files = [each.file for each in photos]
    logits = classify_files(run, [folder / file for file in files])
    trained = {photo.sha256 for photo in split.train}
    learnt = sum(photo.sha256 in trained for photo in photos)
    return PredictedPhotos(files, classes_of(photos, split.labels), logits, learnt)


def validate_views(run: TrainedRun, views: tuple[str, ...]) -> TrainedRun:
    """*run* averaging these *views* of each photo, validated and calibrated anew.

    Raises:
        InvalidRequestError: there is no such view, or the run has folds.
        DatasetError: validation photos are gone, or answers are no numbers.
    """
    if run.recipe.folds:
        message = (
            f"each photo of {run.folder.name} trained members of it, so other views "
            "cannot be validated: train with --views"
        )
        raise InvalidRequestError(message)
    plan = replace(run.plan, recipe=replace(run.recipe, views=views))
    return _validate(replace(run, plan=plan), silent)


def in_precision(
    run: TrainedRun, precision: str, progress: Progress = silent
) -> TrainedRun:
    """*run* computing in *precision*, validated and calibrated anew.

    A run with folds keeps its validation and calibration, which are those of the folds'
    models: each photo trained the members.

    Raises:
        DatasetError: validation photos are gone, or answers are no numbers.
    """
    if precision == run.precision:
        return run
    changed = replace(run, other_precision=precision)
    return changed if run.recipe.folds else _validate(changed, progress)


def _validate(run: TrainedRun, progress: Progress) -> TrainedRun:
    split = run.split
    logits = classify_files(run, photo_files(run, split.valid), progress)
    classes = classes_of(split.valid, split.labels)
    calibration = calibrate(logits, classes)
    metrics = evaluate_logits(logits, classes, calibration, split.labels)
    answers = (logits, classes)
    return replace(run, calibration=calibration, metrics=metrics, answers=answers)


def write_probabilities(
    predicted: PredictedPhotos, run: TrainedRun, path: Path
) -> None:
    """A CSV with a row for each photo: file, label, calibrated probabilities."""
    labels = run.split.labels
    probabilities = softmax(predicted.logits, run.calibration.temperature)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", *labels])
    for file, number, row in zip(
        predicted.files, predicted.classes, probabilities, strict=True
    ):
        writer.writerow([file, labels[number], *(f"{value:.8f}" for value in row)])
    write_atomically(path, text.getvalue())


def photo_files(run: TrainedRun, photos: Sequence[Photo]) -> list[Path]:
    """The files of *photos* of the run's split."""
    return [Path(run.split.folder) / photo.file for photo in photos]


def decode_files(run: TrainedRun, files: Sequence[Path]) -> Pixels:
    """The pixels [N, H, W, 3] of *files* that the run's models take.

    Raises:
        InvalidImageError: a photo is gone or cannot be decoded.
    """
    return np.stack([run.decode(read_photo(file)) for file in files])


def classify_files(
    run: TrainedRun, files: Sequence[Path], progress: Progress = silent
) -> NDArray[Any]:
    """Logits [N, K] of *files* by the run's members.

    Raises:
        DatasetError: weights are damaged.
        InvalidImageError: a photo is gone or cannot be decoded.
    """
    classifier = build_ensemble(run).join()
    parts = []
    for start in range(0, len(files), MAX_BATCH_SIZE):
        batch = files[start : start + MAX_BATCH_SIZE]
        parts.append(classify(classifier, decode_files(run, batch)))
        progress(f"answer in {run.precision}", start + len(batch), len(files))
    return np.concatenate(parts)
