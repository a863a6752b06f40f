"""Predictions of a run for labelled photos, and for other views of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.errors import DatasetError, InvalidRequestError
from models.probabilities import softmax

if TYPE_CHECKING:
    from export.training.runs import TrainedRun


pytestmark = pytest.mark.tensorflow


def test_evaluation_of_a_folder_equals_the_cached_one(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.training.classifier import predict_photos, write_probabilities

    folder = Path(small_run.split.folder)
    predicted = predict_photos(small_run, folder)
    write_probabilities(predicted, small_run, tmp_path / "rows.csv")

    with (tmp_path / "rows.csv").open(newline="") as stream:
        rows = {row["file"]: float(row["dog"]) for row in csv.DictReader(stream)}
    logits, _ = small_run.validation()
    expected = softmax(logits, small_run.calibration.temperature)[:, 1]
    found = [rows[photo.file] for photo in small_run.split.valid]
    assert found == pytest.approx(list(expected), abs=1e-6)
    assert predicted.learnt == len(small_run.split.train)
    assert predict_photos(small_run, None).learnt == 0


def test_other_views_are_validated_and_calibrated_anew(small_run: TrainedRun) -> None:
    from export.training.classifier import validate_views

    flipped = validate_views(small_run, ("none", "horizontal"))

    assert flipped.recipe.views == ("none", "horizontal")
    assert flipped.metrics["images"] == small_run.metrics["images"]
    assert flipped.metrics["log_loss_raw"] != small_run.metrics["log_loss_raw"]


def test_unknown_view_is_named(small_run: TrainedRun) -> None:
    from export.training.classifier import validate_views

    with pytest.raises(InvalidRequestError, match="no view 'diagonal'"):
        validate_views(small_run, ("diagonal",))


def test_other_class_folders_are_named(small_run: TrainedRun, tmp_path: Path) -> None:
    from export.training.classifier import predict_photos
    from tests.training import write_class_folders

    write_class_folders(tmp_path, each=1)
    (tmp_path / "dog").rename(tmp_path / "wolf")

    with pytest.raises(
        DatasetError, match=r"the labels 'wolf', which.* knows 'cat', 'dog'"
    ):
        predict_photos(small_run, tmp_path)


def test_views_without_change_keep_the_logits(small_run: TrainedRun) -> None:
    from export.training.classifier import validate_views

    same = validate_views(small_run, ("none",))

    assert same.calibration.temperature == pytest.approx(
        small_run.calibration.temperature, rel=1e-3
    )
    assert np.array_equal(
        same.metrics["confusion_matrix"], small_run.metrics["confusion_matrix"]
    )
