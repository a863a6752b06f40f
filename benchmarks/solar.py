"""Accuracy and log loss of a recipe on the demo's photos: mean and range over seeds.

    python -m benchmarks.solar [--recipe pooled] [--seeds 0,1,2] [--cache FOLDER]

The test quarter is used for the printed figures only: training, early stopping,
temperature and clip bound use the other three quarters. Frozen features of all
photos are computed once and shared by the seeds; the time printed includes them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kennel.demo import label_photos, package_folder
from models.files import hash_file
from models.networks.runtime import start_tensorflow
from models.probabilities import accuracy, clip, log_loss, softmax

if TYPE_CHECKING:
    from export.data.splits import Photo
    from export.training.examples import Part
    from export.training.members import Member, MemberTraining, TrainedMembers

TEST_SHARE = 0.25
VALID_SHARE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="pooled")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    start_tensorflow()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = SolarBench(options.recipe, Path(folder), options.cache)
        found = [bench.measure(int(seed)) for seed in options.seeds.split(",")]
    minutes = (time.monotonic() - began) / 60
    columns = zip(*found, strict=True)
    for name, values in zip(("accuracy", "log loss"), columns, strict=True):
        print(
            f"{options.recipe}: {name} {np.mean(values):.4f} "
            f"({min(values):.4f} to {max(values):.4f})"
        )
    print(f"{len(found)} seeds in {minutes:.1f} minutes")


class SolarBench:
    """All photos as one set; every seed takes its rows from it."""

    def __init__(self, recipe: str, folder: Path, cache: Path | None) -> None:
        from export.data.splits import Photo, Split
        from export.recipes.catalogue import find_recipe
        from export.training.assembly import recipe_weights
        from export.training.examples import prepare_photos
        from export.training.plans import TrainingPlan
        from kennel.terminal import progress_bars

        root = package_folder()
        self._photos = [
            Photo(str(file.relative_to(root)), label, hash_file(file))
            for label, files in label_photos(root).items()
            for file in files
        ]
        labels = tuple(sorted({photo.label for photo in self._photos}))
        split = Split(str(root), labels, 0, "stratified", (), ())
        self._plan = TrainingPlan(
            "solar",
            split,
            find_recipe(recipe),
            folder,
            cache or folder / "cache",
            seed=0,
        )
        self._weights = recipe_weights(self._plan.recipe, "auto")
        with progress_bars() as progress:
            self._set = prepare_photos("all", self._photos, self._plan, progress)

    def measure(self, seed: int) -> tuple[float, float]:
        """Test accuracy and log loss of one split."""
        from export.evaluation.calibration import calibrate
        from export.training.members import MemberTraining, validation_logits
        from kennel.terminal import progress_bars

        rest, test = self._cut(self._photos, TEST_SHARE, seed)
        plan = replace(self._plan, seed=seed, folder=self._plan.folder / f"run{seed}")
        plan.write()
        with progress_bars() as progress:
            whole = MemberTraining(
                plan, 1, self._part(rest), self._part(rest), progress
            )
            done = self._train(whole)
            logits = validation_logits(done.validated)
            rows = np.concatenate([each.valid.rows for each, _ in done.validated])
            calibration = calibrate(logits, self._classes(np.sort(rows)))
            answers = mean_of_members(
                [
                    (replace(training, valid=self._part(test)), member)
                    for training, member in done.exported
                ]
            )
        probabilities = softmax(answers, calibration.temperature)
        clipped = clip(probabilities, calibration.clip_bound)
        classes = self._classes(test)
        found = accuracy(probabilities, classes), log_loss(clipped, classes)
        print(
            f"seed {seed}: accuracy {found[0]:.4f}, log loss {found[1]:.4f}", flush=True
        )
        return found

    def _train(self, whole: MemberTraining) -> TrainedMembers:
        from export.training.members import cross_validate, train_members

        photos = [self._photos[row] for row in whole.train.rows]
        if whole.plan.recipe.folds:
            return cross_validate(whole, photos, self._weights)
        train, valid = self._cut(photos, VALID_SHARE, whole.plan.seed)
        rows = whole.train.rows
        one = replace(
            whole, train=self._part(rows[train]), valid=self._part(rows[valid])
        )
        return train_members(one, self._weights)

    def _cut(
        self, photos: list[Photo], share: float, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        from export.data.splits import split_photos

        split = split_photos(Path(self._plan.split.folder), photos, share, seed)
        held = set(split.valid)
        is_held = np.array([photo in held for photo in photos])
        return np.flatnonzero(~is_held), np.flatnonzero(is_held)

    def _part(self, rows: NDArray[np.int64]) -> Part:
        from export.training.examples import Part

        return Part(self._set, rows)

    def _classes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(self._set.targets[rows].argmax(axis=1))


def mean_of_members(tested: list[tuple[MemberTraining, Member]]) -> Any:
    """Logits of the average over members and views, for test rows."""
    from export.training.members import mean_logits, member_logits

    logits = [
        each for training, member in tested for each in member_logits(training, member)
    ]
    return np.asarray(mean_logits(logits))


if __name__ == "__main__":
    main()
