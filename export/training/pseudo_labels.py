"""Pseudo-labels: a finished run's predictions, as targets for photos without labels.

They must not leak validation photos into training. A photo that is in the split is left
out, and a teacher that has learnt from photos which now validate is refused: it has seen
the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from export.data.sources.files import map_files, walk_folder
from export.data.sources.reading import read_photo
from export.data.splits import Split
from export.training.checkpoints import Snapshot, read_snapshot, write_snapshot
from export.training.classifier import build_ensemble, classify
from export.training.examples import PseudoLabelled
from export.training.plans import TrainingPlan
from export.training.runs import TrainedRun, read_run
from models.contract import MAX_BATCH_SIZE
from models.errors import (
    DatasetError,
    InvalidImageError,
    MissingImageError,
    quoted_names,
)
from models.files import hash_file
from models.images.codec import Pixels
from models.probabilities import softmax

PSEUDO_LABELS_FILE: Final = "pseudo_labels.npz"


def plan_pseudo_labels(plan: TrainingPlan) -> PseudoLabelled:
    """The pseudo-labels of *plan*, found in its run's folder or made.

    A resumed run learns from the same ones.

    Raises:
        DatasetError: as `pseudo_label`, or the file is damaged.
    """
    path = plan.folder / PSEUDO_LABELS_FILE
    if not path.exists():
        teacher = read_run(plan.teacher, Path())
        labelled = pseudo_label(teacher, Path(plan.unlabelled), plan.split)
        facts = {"files": list(map(str, labelled.files)), "hashes": labelled.hashes}
        write_snapshot(path, Snapshot([labelled.targets], facts))
    found = read_snapshot(path)
    files = tuple(Path(file) for file in found.facts["files"])
    return PseudoLabelled(files, tuple(found.facts["hashes"]), found.arrays[0])


def pseudo_label(teacher: TrainedRun, folder: Path, split: Split) -> PseudoLabelled:
    """Label the photos below *folder* with *teacher*, for a student trained on *split*.

    Photos of the split, duplicates and files that cannot be decoded are left out.

    Raises:
        DatasetError: the teacher has other labels, or has learnt from photos that
            validate the student; or no photo is left.
    """
    check_teacher(teacher, split)
    files, hashes, probabilities = [], [], []
    classifier = build_ensemble(teacher).join()
    for batch in _batches(folder, split, teacher):
        logits = classify(classifier, np.stack([pixels for _, _, pixels in batch]))
        probabilities.append(softmax(logits, teacher.calibration.temperature))
        files += [file for file, _, _ in batch]
        hashes += [sha256 for _, sha256, _ in batch]
    if not files:
        message = f"{folder} holds no photo that is not in the split already"
        raise DatasetError(message)
    targets = np.concatenate(probabilities).astype(np.float32)
    return PseudoLabelled(tuple(files), tuple(hashes), targets)


def check_teacher(teacher: TrainedRun, split: Split) -> None:
    """Accept a *teacher* that has never learnt from a validation photo of *split*.

    Raises:
        DatasetError: it has or may have, or it has other labels.
    """
    if teacher.split.labels != split.labels:
        message = (
            f"the teacher {teacher.folder.name} knows the labels "
            f"{quoted_names(teacher.split.labels)}, the photos have "
            f"{quoted_names(split.labels)}: use a teacher with the same labels"
        )
        raise DatasetError(message)
    learnt = {photo.sha256 for photo in teacher.split.train}
    validated = {photo.sha256 for photo in teacher.split.valid}
    suspect = [
        photo.file
        for photo in split.valid
        if photo.sha256 in learnt
        or (teacher.plan.unlabelled and photo.sha256 not in validated)
    ]
    if suspect:
        message = (
            f"the teacher {teacher.folder.name} may have learnt from {len(suspect)} of "
            f"the validation photos ({suspect[0]} ...): use one with the same DATA and "
            "--seed"
        )
        raise DatasetError(message)


_Labelled = tuple[Path, str, Pixels]


def _batches(
    folder: Path, split: Split, teacher: TrainedRun
) -> Iterator[Sequence[_Labelled]]:
    known = {photo.sha256 for photo in (*split.train, *split.valid)}
    found = [photo.origin.location for photo in walk_folder(folder).photos]
    batch: list[_Labelled] = []
    for file, sha256 in zip(found, map_files(hash_file, found), strict=True):
        if sha256 in known:
            continue
        known.add(sha256)
        try:
            batch.append((file, sha256, teacher.decode(read_photo(file))))
        except MissingImageError as error:
            message = f"{file} is gone since {folder} was listed: try again"
            raise DatasetError(message) from error
        except InvalidImageError:
            continue
        if len(batch) == MAX_BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch
