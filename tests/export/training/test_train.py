"""Training a plan: interrupted, in folds, and the trials before it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.training import small_plan, train_plan

if TYPE_CHECKING:
    from export.training.plans import TrainingPlan
    from export.training.runs import TrainedRun


pytestmark = [pytest.mark.tensorflow, pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def plan(home: Path) -> TrainingPlan:
    """Two stages, the second of which trains convolutions; short."""
    plan = small_plan(home, run="two-stages")
    from export.recipes.catalogue import Stage

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
    from export.training.classifier import predict_photos

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
    from export.training.classifier import build_ensemble, build_member, classify
    from models.networks.network import flip
    from models.probabilities import softmax

    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    parts = [
        softmax(classify(build_member(ensemble, number).model, flip(pixels, view)))
        for number in (1, 2)
        for view in ("none", "horizontal")
    ]
    whole = build_ensemble(ensemble).join()

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
    from export.training.classifier import predict_photos

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
    from export.data.splits import join_parts
    from export.recipes.catalogue import Stage

    stage = Stage("head", 3, 3, 1e-2, views=("none", "vertical"))
    recipe = replace(plan.recipe, folds=3, stages=(stage,))
    split = join_parts(plan.split, folds=3)
    folder = plan.folder.with_name("folds")
    return train_plan(replace(plan, split=split, recipe=recipe, folder=folder))


def test_each_fold_is_judged_by_a_model_that_has_not_seen_it(
    folded: TrainedRun,
) -> None:
    from export.data.splits import held_out_rows
    from export.training.classifier import build_member, classify
    from models.images.codec import decode_image
    from models.images.files import read_image_file

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


def test_frozen_part_lies_once_in_a_run(folded: TrainedRun) -> None:
    from export.training.classifier import build_member

    whole = 4 * build_member(folded, 1).model.count_params()
    files = {path.name: path.stat().st_size for path in folded.folder.glob("*.npz")}
    head = files["member-2.npz"]

    assert {f"member-{number}.npz" for number in range(1, 5)} <= files.keys()
    assert head < whole / 10
    assert sum(files.values()) < whole + 5 * head


def test_runs_that_hold_the_frozen_part_in_each_member_still_load(
    folded: TrainedRun, tmp_path: Path
) -> None:
    from export.training.checkpoints import Snapshot, read_snapshot, write_snapshot
    from export.training.members import read_member

    new = read_member(folded.folder, 2)
    assert new is not None
    facts = read_snapshot(folded.folder / "member-2.npz").facts
    old = {"epochs": facts["epochs"], "stages": 1}
    write_snapshot(tmp_path / "member-2.npz", Snapshot(new.weights, old))

    member = read_member(tmp_path, 2)
    assert member is not None
    assert member.kept == new.kept
    assert all(map(np.array_equal, member.weights, new.weights))


def test_run_whose_pretrained_weights_changed_does_not_go_on(
    plan: TrainingPlan, trained: TrainedRun
) -> None:
    from export.training.members import FROZEN_FILE
    from models.errors import DatasetError

    mixed = replace(plan, folder=plan.folder.with_name("mixed"), seed=3)
    mixed.folder.mkdir()
    (mixed.folder / FROZEN_FILE).write_bytes(
        (trained.folder / FROZEN_FILE).read_bytes()
    )

    with pytest.raises(DatasetError, match="not those that mixed began with"):
        train_plan(mixed)


def test_models_are_named_and_photos_counted_once(folded: TrainedRun) -> None:
    from export.report.page import render_report
    from export.report.run_content import run_content
    from export.training.runs import make_card

    page = render_report(run_content(folded))
    training = make_card(folded, 1).training

    names = [folded.recipe.model_name(number) for number in (1, 2, 4)]
    assert names == ["all photos", "fold 1 of 3", "fold 3 of 3"]
    assert ">Fold 3 of 3</h3>" in page
    assert "member" not in page.lower().split("model card")[0]
    assert training["counts"] == {"cross-validated": {"cat": 30, "dog": 30}}
    assert (training["members"], training["folds"]) == (1, 3)
    assert "60 photos" not in page
    assert "<td>120</td>" not in page


def test_parameters_are_those_that_stages_trained(
    trained: TrainedRun, folded: TrainedRun
) -> None:
    # Head: batch normalisation of 128 vectors, then 2 classes.
    head = 2 * 128 + 128 * 2 + 2
    convolution = 3 * 3 * 64 * 64 + 64

    assert folded.parameters is not None
    assert folded.parameters.stages == (head,)
    assert folded.parameters.trained == head
    assert trained.parameters is not None
    assert trained.parameters.stages == (head, convolution + head)
    assert trained.parameters.all == 1_792 + convolution + head + 2 * 128


@pytest.mark.parametrize("name", ["trained", "folded"])
def test_report_counts_what_was_trained(
    name: str, request: pytest.FixtureRequest
) -> None:
    from export.report.page import render_report
    from export.report.run_content import run_content

    run = request.getfixturevalue(name)
    page = render_report(run_content(run))

    every, trained = run.parameters.all, run.parameters.trained
    counted = f"{every:,} parameters: {trained:,} trained, {every - trained:,} not"
    assert counted in " ".join(page.split())


def test_stage_that_made_the_model_worse_trained_nothing(plan: TrainingPlan) -> None:
    from export.recipes.catalogue import Stage
    from export.report.run_content import run_content
    from export.training.runs import read_run

    other = {"cat": "dog", "dog": "cat"}
    train = tuple(replace(each, label=other[each.label]) for each in plan.split.train)
    stages = (Stage("head", 1, 1, 1e-2), Stage("conv:block1_conv2", 2, 2, 1e-2, "adam"))
    run = train_plan(
        replace(
            plan,
            split=replace(plan.split, train=train),
            recipe=replace(plan.recipe, stages=stages),
            folder=plan.folder.with_name("worse"),
        )
    )

    assert run.parameters is not None
    assert run.kept[1][1] == 0
    assert run.parameters.trained == run.parameters.stages[0]
    assert run_content(run).stages[1].kept == 0
    assert run_content(run).stages[1].ended == "--epochs 2 reached"
    again = read_run(run.folder, Path())
    assert (again.kept, again.parameters) == (run.kept, run.parameters)


def test_median_fold_says_how_long_all_photos_are_learnt() -> None:
    from export.recipes.catalogue import Recipe, Stage
    from export.training.members import Member, settle_epochs

    judged = [Member((), (), kept) for kept in ((3, 0), (5, 0), (4, 2))]
    recipe = settle_epochs(
        Recipe("r", "a test", stages=(Stage(), Stage("all"))), judged
    )

    assert [stage.epochs for stage in recipe.stages] == [4, 0]


@pytest.mark.parametrize("passes", [0, 2])
def test_augmented_photos_pass_the_frozen_part_in_inference(
    plan: TrainingPlan, passes: int
) -> None:
    from export.recipes.catalogue import Stage

    stage = Stage("head", 2, 2, 1e-2, augmentation="flips", passes=passes)
    recipe = replace(plan.recipe, stages=(stage,))
    folder = plan.folder.with_name(f"augmented-{passes}")
    run = train_plan(replace(plan, recipe=recipe, folder=folder))

    assert len(run.history) == 2
    assert run.history[0].val_accuracy > 0.6


def test_photos_that_can_be_learnt_are_learnt(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    from export.progress import silent
    from export.training.train import check_overfit

    check = check_overfit(plan, 10, silent)

    assert check.passed
    assert (check.photos, check.causes) == (10, ())
    assert list(plan.folder.parent.glob("*")) == []


def test_photos_with_contradicting_labels_are_not_learnt(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    from export.progress import silent
    from export.training.train import check_overfit

    for number in range(30):
        one = tmp_path / "photos" / "cat" / f"{number}.jpg"
        (tmp_path / "photos" / "dog" / f"{number}.jpg").write_bytes(one.read_bytes())
    by_file = {photo.file: photo for photo in plan.split.train}
    train = tuple(
        replace(photo, sha256=by_file.get(twin, photo).sha256)
        for photo in plan.split.train
        for twin in [photo.file.replace("dog", "cat")]
    )
    stages = (replace(plan.recipe.stages[0], epochs=3),)
    recipe = replace(plan.recipe, stages=stages)
    plan = replace(plan, split=replace(plan.split, train=train), recipe=recipe)

    check = check_overfit(plan, 40, silent)

    assert not check.passed
    assert any("two labels" in cause for cause in check.causes)
    assert any("learning rate" in cause for cause in check.causes)


def test_classes_take_turns(plan: TrainingPlan) -> None:
    from export.training.train import overfit_plan

    small = overfit_plan(plan, 7)

    assert Counter(photo.label for photo in small.split.train) == {"cat": 4, "dog": 3}
    assert small.split.valid == small.split.train
    assert small.recipe.head.dropout == 0


TOO_LARGE = {
    "blown up": [439235.7, 55421.7, 52793.2, 3208.4, 3.9, 46.5, 0.84, 0.69, 0.77],
    "units died": [0.81, 2.14, 0.61, 0.71, 0.69, 0.70, 0.6948, 0.6954, 0.6936],
    "above its start": [0.70, 0.74, 0.81, 0.95, 1.3, 1.9, 2.8],
    "swinging": [0.9, 0.4, 1.2, 0.3, 1.1, 0.5, 1.3, 0.4, 1.0],
}
TOO_SMALL = {
    "hardly moving": [0.7052 - 1e-6 * number for number in range(20)],
    "still falling": [0.70 - 0.02 * number for number in range(20)],
}


def judged(plan: TrainingPlan, losses: list[float], recipe: str = "lenet5") -> Any:
    """The verdict on a run with these training losses that learnt half its photos."""
    from export.evaluation.calibration import Calibration
    from export.recipes.catalogue import find_recipe
    from export.training.checkpoints import Epoch
    from export.training.runs import TrainedRun
    from export.training.train import judge_overfit, overfit_plan

    plan = overfit_plan(replace(plan, recipe=find_recipe(recipe)), 20)
    history = tuple(
        Epoch(1, len(plan.recipe.stages), number, 2e-3, loss, 0.5, loss, 0.5)
        for number, loss in enumerate(losses, start=1)
    )
    classes = np.array([photo.label == "dog" for photo in plan.split.valid], np.int64)
    answers = np.tile(np.array([1, 0], np.float32), (20, 1)), classes
    calibration = Calibration(1.0, None, "none")
    return judge_overfit(
        TrainedRun(plan, {}, calibration, {}, history, answers=answers)
    )


@pytest.mark.parametrize("case", TOO_LARGE)
def test_too_large_a_learning_rate_is_told_by_its_losses(
    plan: TrainingPlan, case: str
) -> None:
    causes = judged(plan, TOO_LARGE[case]).causes

    assert causes[0].startswith("too large a learning rate (training loss ")
    assert causes[0].endswith("try --learning-rate 0.0002")


@pytest.mark.parametrize("case", TOO_SMALL)
def test_too_small_a_learning_rate_is_told_by_its_losses(
    plan: TrainingPlan, case: str
) -> None:
    causes = judged(plan, TOO_SMALL[case]).causes

    assert causes[0].startswith("too small a learning rate (training loss ")
    assert causes[0].endswith("try --learning-rate 0.02")


def test_rate_far_off_is_told_the_recipes_own() -> None:
    from export.recipes.catalogue import LENET5
    from export.recipes.remedies import scaled_rate

    def told(rate: float, factor: float) -> str:
        stages = (replace(LENET5.stages[0], learning_rate=rate),)
        return scaled_rate(replace(LENET5, stages=stages), 1, factor)

    assert told(1.0, 0.1) == told(1e-7, 10) == "--learning-rate 0.002"
    assert told(1e-4, 0.1) == "--learning-rate 1e-05"


def test_losses_that_came_to_rest_blame_no_learning_rate(plan: TrainingPlan) -> None:
    losses = [0.3 + 0.4 * 0.7**number for number in range(20)]

    weak, mixed = judged(plan, losses).causes

    assert weak == "too weak a network: try --recipe scratch"
    assert mixed.count("(called cat)") == 5
    assert mixed.endswith("and 5 more")


def test_causes_name_what_the_recipe_has(plan: TrainingPlan) -> None:
    slow = TOO_SMALL["still falling"]

    assert "--learning-rate 0.001,0.002" in judged(plan, slow, "conv-block5").causes[0]
    assert "learning rate" not in " ".join(judged(plan, slow, "second-order").causes)
    assert "--recipe" not in " ".join(judged(plan, slow, "everything").causes)
