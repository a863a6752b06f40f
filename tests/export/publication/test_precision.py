"""The guard of reduced precision, and the choice of the fastest one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from kennel.cli import main
from models.contract import CARD_FILE, INT8, KNOWN_ANSWERS_FILE, KnownAnswers, ModelCard
from models.errors import ConflictError
from models.wire.config import published_versions
from tests.export.report.reports import words
from tests.training import small_plan, train_plan

if TYPE_CHECKING:
    from export.publication.precision import Quality, Timer
    from export.training.runs import TrainedRun

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("precision")


@pytest.fixture(scope="module")
def eight(home: Path) -> TrainedRun:
    return train_plan(replace(small_plan(home, run="eight"), precision=INT8))


@pytest.fixture(scope="module")
def damaged(eight: TrainedRun, home: Path) -> TrainedRun:
    """The same run with other weights in eight bits, whose answers are no good."""
    from export.training.members import INTEGERS_FILE, read_integers
    from export.training.runs import read_run

    folder = shutil.copytree(eight.folder, eight.folder.with_name("damaged"))
    chain = read_integers(folder)
    spoilt = [replace(each, kernel=-each.kernel) for each in chain.convolutions]
    chain = replace(chain, convolutions=tuple(spoilt))
    (folder / INTEGERS_FILE).write_bytes(chain.to_bytes())
    return read_run(folder, home)


def timer(**speeds: float) -> Timer:
    """Measures nothing: each precision has the same speed at every batch size."""

    def measure(graphs: Mapping[str, Any], pixels: Any) -> Any:
        assert pixels.dtype == np.uint8
        return {each: dict.fromkeys((1, 8, 32), speeds[each]) for each in graphs}

    return measure


def revalidated(run: TrainedRun) -> TrainedRun:
    from export.training.classifier import validate_views

    return validate_views(run, ("none",))


def quality(photos: int, right: int, log_loss: float = 0.3) -> Quality:
    from export.publication.precision import Quality

    return Quality(photos, right, log_loss)


@pytest.mark.parametrize(
    ("photos", "lost", "passes"),
    [
        (100, 1, True),  # a point, but the smallest step
        (100, 2, False),
        (999, 2, False),
        (1000, 2, True),
        (1000, 3, False),
        (1000, -9, True),
    ],
)
def test_guard_allows_one_photo_or_a_fifth_of_a_point(
    photos: int, lost: int, passes: bool
) -> None:
    exact = quality(photos, photos // 2)
    reduced = quality(photos, photos // 2 - lost)

    assert reduced.is_as_good_as(exact) == passes


@pytest.mark.parametrize(
    ("more", "passes"), [(0.0029, True), (0.0031, False), (float("nan"), False)]
)
def test_guard_allows_three_thousandths_of_log_loss(more: float, passes: bool) -> None:
    reduced = quality(100, 80, 0.3 + more)

    assert reduced.is_as_good_as(quality(100, 80)) == passes


def test_version_in_eight_bits_has_the_figures_of_both_precisions(
    eight: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish
    from models.contract import REPORT_FILE

    card = publish(eight, tmp_path)

    compared = card.precisions
    assert [each["precision"] for each in compared["figures"]] == [INT8, "float32"]
    assert (compared["photos"], bool(compared["processor"])) == (16, True)
    for each in compared["figures"]:
        assert each["accuracy"] >= 0.9
        assert each["log_loss"] < 0.3
        assert sorted(each["images_per_second"]) == ["1", "32", "8"]
        assert min(each["images_per_second"].values()) > 0
    assert card.temperature == eight.calibration.temperature
    page = (tmp_path / card.name / "1" / REPORT_FILE).read_text()
    assert "Quality and speed by precision" in words(page)
    assert "Int8 is about as good as float32 (images/s at batch 32" in words(page)


def test_nothing_is_measured_for_float32(small_run: TrainedRun) -> None:
    from export.publication.precision import pick_precision

    choice = pick_precision(small_run, timer=timer())

    assert choice.run is small_run
    assert choice.to_card() == {}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_temperature_is_fitted_to_the_answers_that_are_served(
    eight: TrainedRun, tmp_path: Path, precision: str
) -> None:
    from export.publication.publish import publish
    from export.training.classifier import in_precision

    card = publish(eight, tmp_path, precision)

    own = in_precision(eight, precision)
    assert card.precision == precision
    assert card.temperature == own.calibration.temperature
    assert card.metrics["validation"] == own.metrics
    assert not np.array_equal(own.validation()[0], eight.validation()[0])
    known = KnownAnswers.from_bytes(
        (tmp_path / card.name / "1" / KNOWN_ANSWERS_FILE).read_bytes()
    )
    files = [photo.file for photo in eight.split.valid]
    rows = [files.index(photo) for photo in known.photos]
    assert known.logits == pytest.approx(own.validation()[0][rows], abs=0.02)


def test_worse_precision_is_refused_with_both_figures(
    damaged: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish

    message = (
        r"worse in int8 than in float32: accuracy 0\.\d{4} and log loss \d\.\d{4} on 16 "
        r"validation photos, accuracy [01]\.\d{4} and log loss 0\.\d{4} in float32. "
        r"Allowed are 0.2 points of accuracy \(or one photo\) and 0.003 log loss"
        r".*more photos, or export with --precision bfloat16 or float32, or train again"
    )
    with pytest.raises(ConflictError, match=message):
        publish(revalidated(damaged), tmp_path)

    assert published_versions(tmp_path / "pets") == []


def test_auto_takes_the_fastest_and_says_why(eight: TrainedRun) -> None:
    from export.publication.precision import AUTO, pick_precision

    speeds = timer(float32=7.2, bfloat16=15, int8=27.14)
    choice = pick_precision(eight, AUTO, timer=speeds)

    assert choice.run.precision == INT8
    assert "int8 is the fastest precision that the guard lets pass" in choice.summary()
    assert "images/s at batch 32: int8 27.1, " in choice.summary()
    assert "float32 7.2" in choice.summary()
    assert "on 16 validation photos: int8 accuracy" in choice.summary()


def test_auto_passes_over_a_precision_that_is_worse(damaged: TrainedRun) -> None:
    from export.publication.precision import AUTO, pick_precision

    speeds = timer(float32=15, bfloat16=7, int8=27)
    choice = pick_precision(revalidated(damaged), AUTO, timer=speeds)

    assert choice.run.precision == "float32"
    assert choice.run.calibration != damaged.calibration
    assert choice.summary().endswith("; int8 was refused)")
    figures = {each["precision"]: each for each in choice.to_card()["figures"]}
    assert figures[INT8]["accuracy"] < figures["float32"]["accuracy"]


def test_auto_judges_no_slower_precision(eight: TrainedRun) -> None:
    from export.publication.precision import AUTO, pick_precision

    speeds = timer(float32=15, bfloat16=7, int8=9)
    choice = pick_precision(eight, AUTO, timer=speeds)

    assert choice.run.precision == "float32"
    assert {each["accuracy"] for each in choice.to_card()["figures"]} == {None}
    assert "accuracy" not in choice.summary()


def test_eight_bits_are_only_for_runs_that_were_trained_in_them(
    small_run: TrainedRun,
) -> None:
    from export.publication.precision import AUTO, pick_precision

    choice = pick_precision(small_run, AUTO, timer=timer(float32=1, bfloat16=0.5))

    assert choice.run.precision == "float32"


def test_run_with_folds_keeps_its_calibration(home: Path) -> None:
    from export.data.splits import join_parts
    from export.publication.precision import pick_precision

    plan = small_plan(home, name="folded", run="folded")
    recipe = replace(plan.recipe, folds=2)
    run = train_plan(replace(plan, recipe=recipe, split=join_parts(plan.split, 2)))

    choice = pick_precision(run, "bfloat16", timer=timer(float32=1, bfloat16=2))

    assert choice.run.precision == "bfloat16"
    assert choice.run.calibration == run.calibration
    assert np.array_equal(choice.run.validation()[0], run.validation()[0])
    assert "on 60 photos that trained the exported members" in choice.summary()


def kennel(run: TrainedRun, *arguments: str) -> Result:
    home = run.folder.parents[2]
    env = {"KENNEL_HOME": str(home), "MODELS_DIR": str(home / "commanded")}
    return CliRunner().invoke(main, arguments, env={**os.environ, **env})


def test_command_says_what_was_chosen_and_refuses_what_is_worse(
    eight: TrainedRun, damaged: TrainedRun
) -> None:
    chosen = kennel(eight, "export", "eight", "--precision", "auto")
    refused = kennel(damaged, "export", "damaged", "--views", "none")

    assert chosen.exit_code == 0, chosen.output
    assert (
        "is the fastest precision that the guard lets pass (images/s" in chosen.stdout
    )
    file = eight.folder.parents[2] / "commanded" / "pets" / "1" / CARD_FILE
    card = ModelCard.from_json(file.read_text())
    assert card.precisions["summary"] in chosen.stdout
    assert refused.exit_code == 1
    assert "damaged is worse in int8 than in float32: accuracy" in refused.stderr
    assert published_versions(file.parents[1]) == [1]
