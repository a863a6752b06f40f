"""Pseudo-labels: used for training, never for validation."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.errors import DatasetError
from tests.training import small_plan, train_plan

if TYPE_CHECKING:
    from export.training.runs import TrainedRun


pytestmark = pytest.mark.tensorflow


@pytest.fixture
def unlabelled(small_run: TrainedRun, tmp_path: Path) -> Path:
    """Two photos of the split, a new one twice without suffix, one damaged."""
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    source = Path(small_run.split.folder)
    shutil.copy(source / small_run.split.valid[0].file, folder / "validates.jpg")
    shutil.copy(source / small_run.split.train[0].file, folder / "trains.jpg")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff damaged")
    from PIL import Image

    new = np.random.default_rng(7).integers(120, 240, (40, 50, 3), np.uint8)
    Image.fromarray(new).save(folder / "new.png")
    (folder / "new.png").rename(folder / "new")
    shutil.copy(folder / "new", folder / "new again")
    (folder / "__MACOSX").mkdir()
    Image.fromarray(new[::-1]).save(folder / "__MACOSX" / "1.png")
    return folder


def test_only_new_photos_are_labelled(small_run: TrainedRun, unlabelled: Path) -> None:
    from export.training.pseudo_labels import pseudo_label

    found = pseudo_label(small_run, unlabelled, small_run.split)

    assert [file.name for file in found.files] == ["new"]
    assert found.targets.shape == (1, 2)
    assert found.targets.sum() == pytest.approx(1)
    assert not {photo.sha256 for photo in small_run.split.valid} & set(found.hashes)


def test_teacher_that_saw_a_validation_photo_is_refused(
    small_run: TrainedRun, unlabelled: Path
) -> None:
    from export.training.pseudo_labels import pseudo_label

    split = small_run.split
    swapped = replace(split, train=split.valid, valid=split.train)

    with pytest.raises(DatasetError, match="may have learnt from 44 of the validation"):
        pseudo_label(small_run, unlabelled, swapped)


def test_student_learns_from_the_new_photo_too(
    small_run: TrainedRun, unlabelled: Path, tmp_path: Path
) -> None:
    home = small_run.folder.parents[2]
    plan = replace(
        small_plan(home, run="student"),
        folder=tmp_path / "student",
        teacher=str(small_run.folder),
        unlabelled=str(unlabelled),
    )
    run = train_plan(plan)
    from export.training.pseudo_labels import plan_pseudo_labels

    kept = plan_pseudo_labels(plan)
    assert len(kept.files) == 1
    from export.report.run_content import run_content
    from export.training.runs import make_card, read_run

    learnt = {"photos": 1, "teacher": "small"}
    assert make_card(run, 1).training["pseudo_labelled"] == learnt
    note = run_content(read_run(run.folder, tmp_path)).note
    assert "It learnt from 1 unlabelled photo too, as the run small labelled" in note
    assert "the layers that no stage trains are random still" in note
    assert run.history != small_run.history
    assert run.metrics["images"] == small_run.metrics["images"]
