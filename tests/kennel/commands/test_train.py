"""`kennel train`, `evaluate`, `report` and `export` as a user calls them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from export.training.plans import PLAN_FILE, TrainingPlan
from export.training.runs import find_run
from kennel.cli import main
from kennel.commands.train import check_resumed, new_plan, train
from kennel.settings import KennelSettings
from models.errors import ConflictError, KennelError, NotFoundError
from tests.training import small_plan, write_class_folders

FAST = ("--recipe", "lenet5", "--epochs", "2", "--seed", "1")


def kennel(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"KENNEL_HOME": str(home)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "give DATA, or --resume RUN"),
        (["train", ".", "--teacher", "x"], "--unlabelled and --teacher go together"),
        (["train", ".", "--valid", "nan"], "--valid nan: give a share between 0 and 1"),
        (["train", ".", "--valid", "2000"], "--valid 2000: give a share between 0"),
        (["train", ".", "--run", "../one"], "--run '../one': give a name without"),
        (["train", ".", "--run", "."], "--run '.': give a name without folders"),
        (["train", ".", "--run", "-one"], "--run '-one': give a name without folders"),
    ],
)
def test_misuse_is_told_before_anything_is_loaded(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = kennel(tmp_path, *arguments)

    assert result.exit_code == 2
    assert message in result.output


def test_beginning_of_a_name_stands_for_its_run(tmp_path: Path) -> None:
    runs = tmp_path / "train"
    for name in (
        "pets-20260101-120000",
        "pets-20260102-120000",
        "cars-20260101-120000",
    ):
        (runs / name).mkdir(parents=True)
        (runs / name / PLAN_FILE).write_text("{}")

    assert find_run("pets-20260102", tmp_path) == runs / "pets-20260102-120000"
    assert find_run("cars", tmp_path) == runs / "cars-20260101-120000"
    for none in ("dogs", ""):
        with pytest.raises(NotFoundError):
            find_run(none, tmp_path)
    several = "'pets-20260102-120000', 'pets-20260101-120000'"
    with pytest.raises(ConflictError, match=several):
        find_run("pets", tmp_path)


def test_recipes_are_listed_with_their_commands(tmp_path: Path) -> None:
    listed = kennel(tmp_path, "recipes")
    shown = json.loads(kennel(tmp_path, "recipes", "conv-block5").output)

    assert "kennel train DATA --name NAME --recipe second-order" in listed.output
    assert shown[0]["stages"][1]["trains"] == "conv:block5"


@pytest.mark.tensorflow
def test_photos_become_a_run_a_report_and_a_version(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets")
    data = str(tmp_path / "pets")

    trained = kennel(tmp_path, "train", data, "--run", "one", *FAST)
    evaluated = kennel(tmp_path, "evaluate", "one", "--json")
    reported = kennel(tmp_path, "report", "one")
    exported = kennel(tmp_path, "export", "one", "--views", "none,horizontal")

    assert trained.exit_code == 0, trained.output
    assert "expected Kaggle score" in trained.output
    assert "Precision float32: nothing is pretrained." in trained.output
    figures = json.loads(evaluated.stdout)
    assert figures["images"] == 12
    assert figures["diagnosis"]["kind"] == "too few photos"
    assert f"too few photos: {figures['diagnosis']['evidence']}" in trained.output
    report = Path(reported.stdout.strip())
    assert report.read_text().startswith("<!doctype html>")
    assert "<h3>Too few photos</h3>" in report.read_text()
    assert "float32: nothing is pretrained" in report.read_text()
    record = json.loads((report.parent / "run.json").read_text())
    assert record["diagnosis"] == figures["diagnosis"]
    assert "Published pets version 1" in exported.output
    assert "pets version 1 answers requests that name no version" in exported.output
    assert exported.stdout.endswith("pets answers requests that name no model\n")


@pytest.mark.tensorflow
def test_resumed_run_takes_no_other_options(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets", each=10)
    data = str(tmp_path / "pets")
    small = ("--recipe", "lenet5", "--epochs", "2", "--seed", "1")
    kennel(tmp_path, "train", data, "--run", "one", *small)
    run = tmp_path / "runs" / "train" / "one"
    before = (run / "run.json").read_bytes()

    again = kennel(tmp_path, "train", "--resume", "one")
    same = kennel(
        tmp_path,
        *("train", data, "--resume", "one", *small, "--valid", "0.2"),
        *("--precision", "auto"),
    )
    other = kennel(
        tmp_path,
        *("train", "--resume", "one", "--epochs", "3", "--dropout", "0.5"),
        *("--seed", "1", "--name", "dogs", "--sample"),
    )
    (run / "run.json").unlink()
    unfinished = kennel(tmp_path, "train", "--resume", "one", "--batch-size", "4")

    assert (again.exit_code, same.exit_code) == (0, 0)
    assert "one is finished: nothing is left to train" in again.output
    assert "accuracy" in same.output
    assert before
    assert (other.exit_code, unfinished.exit_code) == (1, 1)
    for difference in (
        "--epochs 3 (the run has 2)",
        "--dropout 0.5 (the run has none)",
        "--name dogs (the run has pets)",
        f"DATA {data}/sample (the run has {data})",
    ):
        assert difference in other.output
    assert "--seed" not in other.output
    assert "--batch-size 4 (the run has 128)" in unfinished.output
    assert not (run / "run.json").exists()


@pytest.mark.tensorflow
def test_figures_of_photos_that_were_learnt_are_told(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets", each=5)
    data = str(tmp_path / "pets")
    small = ("--recipe", "lenet5", "--epochs", "1", "--run", "one")
    unsampled = kennel(tmp_path, "train", data, *small, "--sample")
    kennel(tmp_path, "train", data, *small, "--views", "none, horizontal")

    evaluated = CliRunner().invoke(
        main,
        ["evaluate", "one", "--photos", data, "--json"],
        env={"KENNEL_HOME": str(tmp_path)},
    )
    lost = kennel(tmp_path, "report", "one", "-o", str(tmp_path / "no" / "x.html"))

    assert "8 of these 10 photos trained the model" in evaluated.stderr
    labels = [each["label"] for each in json.loads(evaluated.stdout)["per_class"]]
    assert labels == ["cat", "dog"]
    assert lost.exit_code == 1
    assert lost.output == f"kennel: No such file or directory {tmp_path}/no/x.html\n"
    assert "pets has no sample: kennel prepare draws one" in unsampled.output


@pytest.mark.tensorflow
def test_strict_and_weights_are_compared_as_the_run_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path / "pets", each=5)
    settings = KennelSettings.from_env({"KENNEL_HOME": str(tmp_path)})
    given = {"strict": True, "weights": "own.h5"}
    context = train.make_context(
        "train", [str(tmp_path / "pets"), "--recipe", "lenet5"]
    )
    options = {**context.params, **given}
    for name in ("data", "overfit", "resume"):
        del options[name]
    monkeypatch.chdir(tmp_path)

    plan = new_plan(settings, tmp_path / "pets", options)
    check_resumed(plan, settings, None, given)

    assert plan.weights == str(tmp_path / "own.h5")
    assert plan.strict
    folds = replace(plan, valid=None, recipe=replace(plan.recipe, folds=3))
    with pytest.raises(ConflictError, match=r"--valid 0\.2 .the run has 3 folds"):
        check_resumed(folds, settings, None, {"valid": 0.2})


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> TrainingPlan:
    home = tmp_path_factory.mktemp("home")
    return replace(small_plan(home), folder=home / "runs" / "train" / "one")


COMPARED = {each.name for each in train.params} - {"data", "overfit", "resume"}


@pytest.mark.tensorflow
@pytest.mark.parametrize("option", sorted(COMPARED, key=str))
def test_every_option_beside_resume_is_compared(
    begun: TrainingPlan, tmp_path: Path, option: str
) -> None:
    values = {"sample": True, "unlabelled": tmp_path, "image_size": 48, "valid": 0.5}
    values |= dict.fromkeys(("seed", "batch_size", "members", "folds"), 7)
    values |= dict.fromkeys(("dropout", "label_smoothing"), 0.25)
    values |= {"hidden": "9", "views": "both", "network": "lenet5", "recipe": "dense"}
    given = {option: values.get(option, "3")}
    settings = KennelSettings.from_env({"KENNEL_HOME": str(tmp_path)})

    with pytest.raises(KennelError):
        check_resumed(begun, settings, None, given)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("lenet5", "has parts for training and validation already"),
        ("second-order", "in 5 folds"),
    ],
)
def test_share_for_validation_that_changes_nothing_is_refused(
    tmp_path: Path, recipe: str, message: str
) -> None:
    folder = tmp_path / "pets"
    write_class_folders(folder / "train", each=8)
    if recipe == "lenet5":
        write_class_folders(folder / "valid", each=4)
    data = str(folder if recipe == "lenet5" else folder / "train")

    result = kennel(tmp_path, "train", data, "--recipe", recipe, "--valid", "0.3")

    assert result.exit_code == 2
    assert "--valid 0.3 changes nothing" in result.output
    assert message in result.output


@pytest.mark.tensorflow
def test_run_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets", each=10)

    result = kennel(
        tmp_path,
        *("train", str(tmp_path / "pets"), "--recipe", "dense"),
        *("--weights", "package"),
    )

    assert result.exit_code == 1
    assert "--recipe pooled instead of dense" in result.output
    assert list((tmp_path / "runs" / "train").iterdir()) == []


@pytest.mark.tensorflow
def test_overfit_check_that_fails_exits_1_with_causes(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets", each=10)
    twins = zip(
        sorted((tmp_path / "pets" / "cat").iterdir()),
        sorted((tmp_path / "pets" / "dog").iterdir()),
        strict=True,
    )
    for cat, dog in twins:
        dog.write_bytes(cat.read_bytes() + b"\0")

    result = kennel(
        tmp_path,
        *("train", str(tmp_path / "pets"), "--overfit", "12", "--recipe", "lenet5"),
    )

    assert result.exit_code == 1
    assert "not learnt" in result.output
    assert "likely:" in result.output


@pytest.mark.tensorflow
def test_train_says_what_it_left_out_and_strict_refuses_it(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets" / "train", each=10)
    write_class_folders(tmp_path / "pets" / "test", each=1)
    (tmp_path / "pets" / "train" / "cat" / "1.xml").write_text("<box/>")
    data = str(tmp_path / "pets")

    refused = kennel(tmp_path, "train", data, "--strict", *FAST)
    trained = kennel(tmp_path, "train", data, "--run", "one", *FAST)

    assert refused.exit_code == 1
    assert "for --strict found: 1 file that is no photo" in refused.stderr
    assert list((tmp_path / "runs" / "train").iterdir()) == [
        tmp_path / "runs" / "train" / "one"
    ]
    assert trained.exit_code == 0, trained.output
    assert "test in test; train in train" in trained.stderr
    assert "2 of them are test photos, for kennel evaluate" in trained.stderr
    assert "train/cat/1.xml" in trained.stderr


@pytest.mark.tensorflow
def test_photos_that_decode_to_the_same_are_refused(tmp_path: Path) -> None:
    for number in range(16):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 40)).save(path)

    pooled = ("--weights", "none", "--image-size", "32", "--epochs", "2")
    result = kennel(tmp_path, "train", str(tmp_path / "pets"), *pooled)

    assert result.exit_code == 1
    assert "all 12 photos are the same once decoded" in result.stderr
