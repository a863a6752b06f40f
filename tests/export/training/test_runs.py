"""Whole runs: the same again from the same seed, after a kill, as members and views."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.training import small_plan, train_plan

if TYPE_CHECKING:
    from export.training.plans import TrainingPlan
    from export.training.runs import TrainedRun

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def plan(home: Path) -> TrainingPlan:
    """Two stages, the second of which trains convolutions; short."""
    plan = small_plan(home, run="two-stages")
    from export.recipes.recipe import Stage

    stages = (
        Stage("head", 2, 2, 1e-2),
        Stage("conv:block1_conv2", 3, 3, 1e-3, "adam", "cosine"),
    )
    return replace(plan, recipe=replace(plan.recipe, stages=stages))


@pytest.fixture(scope="module")
def trained(plan: TrainingPlan) -> TrainedRun:
    return train_plan(plan)


def weights(run: TrainedRun, number: int = 1) -> list[np.ndarray]:
    from export.training.members import read_member

    member = read_member(run.folder, number)
    assert member is not None
    return list(member.weights)


def equal(one: TrainedRun, other: TrainedRun) -> bool:
    pairs = zip(weights(one), weights(other), strict=True)
    return all(np.array_equal(left, right) for left, right in pairs)


def test_same_seed_gives_the_same_weights_bit_for_bit(
    plan: TrainingPlan, trained: TrainedRun
) -> None:
    # The features are computed again too, from the same photos.
    again = train_plan(
        replace(plan, folder=plan.folder.with_name("again"), cache=plan.cache / "again")
    )

    assert again.history == trained.history
    assert equal(again, trained)


def test_another_seed_gives_other_weights(
    plan: TrainingPlan, trained: TrainedRun
) -> None:
    stages = plan.recipe.stages[:1]
    other = train_plan(
        replace(
            plan,
            folder=plan.folder.with_name("other"),
            seed=2,
            recipe=replace(plan.recipe, stages=stages),
        )
    )

    assert other.history[0] != trained.history[0]
    assert not equal(other, trained)


def test_killed_run_goes_on_as_if_nothing_had_happened(
    plan: TrainingPlan, trained: TrainedRun, home: Path
) -> None:
    killed = replace(plan, folder=plan.folder.with_name("killed"))
    killed.write()
    seen = kill_after(killed.folder, "checkpoint.npz", times=2)

    again = subprocess.run(
        [sys.executable, "-m", "kennel.cli", "train", "--resume", str(killed.folder)],
        env={**os.environ, "KENNEL_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert again.returncode == 0, again.stderr
    from export.training.runs import read_run

    resumed = read_run(killed.folder, home)
    assert seen >= 1
    assert resumed.history == trained.history
    assert equal(resumed, trained)
    assert not list(killed.folder.glob("best-*.npz"))
    assert not (killed.folder / "checkpoint.npz").exists()


def kill_after(folder: Path, name: str, times: int) -> int:
    """Start the run in *folder*; kill -9 it once *name* was written that often."""
    script = (
        "import sys; from pathlib import Path\n"
        "from models.networks.runtime import start_tensorflow; start_tensorflow()\n"
        "from export.progress import silent\n"
        "from export.training.plans import read_plan\n"
        "from export.training.train import train\n"
        "train(read_plan(Path(sys.argv[1])), silent)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)])
    seen: set[int] = set()
    while process.poll() is None and len(seen) < times:
        if (folder / name).exists():
            seen.add((folder / name).stat().st_mtime_ns)
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "run.json").exists()
    return len(seen)


def test_joined_network_answers_as_the_head_on_cached_features(
    trained: TrainedRun,
) -> None:
    from export.evaluation.prediction import predict_photos

    cached, _ = trained.validation()
    predicted = predict_photos(trained, Path(trained.split.folder))

    rows = [predicted.files.index(photo.file) for photo in trained.split.valid]
    assert np.abs(predicted.logits[rows] - cached).max() < 1e-5


@pytest.fixture(scope="module")
def ensemble(plan: TrainingPlan) -> TrainedRun:
    recipe = replace(plan.recipe, members=2, views=("none", "horizontal"))
    return train_plan(
        replace(plan, recipe=recipe, folder=plan.folder.with_name("ensemble"))
    )


def test_members_and_views_are_averaged_in_probability(ensemble: TrainedRun) -> None:
    from export.training.classifier import build_classifier, build_member, classify
    from models.networks.views import flip
    from models.probabilities import softmax

    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    parts = [
        softmax(classify(build_member(ensemble, number).model, flip(pixels, view)))
        for number in (1, 2)
        for view in ("none", "horizontal")
    ]
    whole = build_classifier(ensemble)

    assert not np.array_equal(parts[0], parts[2])
    assert softmax(classify(whole, pixels)) == pytest.approx(
        np.mean(parts, 0), abs=1e-6
    )
    # The convolution that no stage trains is there once.
    single = build_member(ensemble, 1).model.count_params()
    assert whole.count_params() < 2 * single


def test_validation_of_an_ensemble_is_what_the_whole_network_says(
    ensemble: TrainedRun,
) -> None:
    from export.evaluation.prediction import predict_photos

    predicted = predict_photos(ensemble, Path(ensemble.split.folder))

    rows = [predicted.files.index(photo.file) for photo in ensemble.split.valid]
    assert np.abs(predicted.logits[rows] - ensemble.validation()[0]).max() < 1e-5


def test_a_second_run_in_the_same_folder_is_refused(trained: TrainedRun) -> None:
    from models.errors import ConflictError

    with pytest.raises(ConflictError, match="--resume"):
        trained.plan.write()


def test_unfinished_run_says_how_to_finish_it(plan: TrainingPlan, home: Path) -> None:
    from export.training.runs import read_run
    from models.errors import ConflictError

    unfinished = replace(plan, folder=plan.folder.with_name("unfinished"))
    unfinished.write()

    with pytest.raises(ConflictError, match="kennel train --resume unfinished"):
        read_run("unfinished", home / "runs")


def test_run_file_is_json_that_tells_each_epoch(trained: TrainedRun) -> None:
    content = json.loads((trained.folder / "run.json").read_text())

    assert content["history"][0]["stage"] == 1
    assert content["history"][-1]["stage"] == 2
    assert content["history"][-1]["learning_rate"] < 1e-3


@pytest.fixture(scope="module")
def folded(plan: TrainingPlan) -> TrainedRun:
    from export.recipes.recipe import Stage
    from export.training.folds import join_parts

    stage = Stage("head", 3, 3, 1e-2, views=("none", "vertical"))
    recipe = replace(plan.recipe, folds=3, stages=(stage,))
    split = join_parts(plan.split, folds=3)
    folder = plan.folder.with_name("folds")
    return train_plan(replace(plan, split=split, recipe=recipe, folder=folder))


def test_each_fold_is_judged_by_a_model_that_has_not_seen_it(
    folded: TrainedRun,
) -> None:
    from export.training.classifier import build_member, classify
    from export.training.folds import held_out_rows
    from models.image_files import read_image_file
    from models.images import decode_image

    split = folded.split
    folds = held_out_rows(split.train, 3, folded.plan.seed)
    files = [Path(split.folder) / split.train[row].file for row in folds[1]]
    pixels = np.stack([decode_image(read_image_file(each), (32, 32)) for each in files])
    second = classify(build_member(folded, 3).model, pixels)

    assert sorted(row for fold in folds for row in fold) == list(range(60))
    assert [len(fold) for fold in folds] == [20, 20, 20]
    assert folded.validation()[0][folds[1]] == pytest.approx(second, abs=0.02)
    assert folded.metrics["images"] == 60


def test_exported_member_learns_from_all_photos_as_long_as_was_best(
    folded: TrainedRun,
) -> None:
    from export.training.members import read_member

    best = [
        min(
            (epoch for epoch in folded.history if epoch.member == fold),
            key=lambda epoch: epoch.val_loss,
        ).number
        for fold in (2, 3, 4)
    ]
    exported = read_member(folded.folder, 1)

    assert exported is not None
    assert len(exported.epochs) == round(float(np.median(best)))
    assert {epoch.member for epoch in folded.history} == {2, 3, 4}


def test_folds_do_not_tear_groups_apart(plan: TrainingPlan) -> None:
    from export.training.folds import join_parts
    from models.errors import DatasetError

    with pytest.raises(DatasetError, match=r"'by subject', folds would not keep"):
        join_parts(replace(plan.split, grouping="by subject"), folds=3)
