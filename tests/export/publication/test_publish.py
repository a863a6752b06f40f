"""From photos to a published SavedModel, for real on a small scale."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.card import ModelCard
from models.contract import CARD_FILE, WARMUP_FILE
from models.errors import DatasetError, NotFoundError
from models.wire.config import published_versions, read_model_config
from tests.training import small_recipe, train_small, write_class_folders

if TYPE_CHECKING:
    from export.training.runs import TrainedRun

pytestmark = pytest.mark.tensorflow


def test_head_learns_and_figures_are_kept(small_run: TrainedRun) -> None:
    assert small_run.metrics["accuracy"] >= 0.7
    assert np.sum(small_run.metrics["confusion_matrix"]) == 16
    logits, classes = small_run.validation()
    assert logits.shape == (16, 2)
    assert list(np.bincount(classes)) == [8, 8]


def test_run_is_read_back_as_it_was(small_run: TrainedRun) -> None:
    from export.training.runs import read_run

    runs_dir = small_run.folder.parent.parent

    assert read_run("small", runs_dir) == replace(small_run)
    with pytest.raises(NotFoundError, match="no finished training run 'other'"):
        read_run("other", runs_dir)


def test_same_seed_gives_the_same_logits(small_run: TrainedRun, tmp_path: Path) -> None:
    again = train_small(tmp_path)

    assert again.validation()[0] == pytest.approx(small_run.validation()[0], abs=1e-5)


def test_second_training_uses_the_caches(tmp_path: Path) -> None:
    from export.data.photos import read_split
    from export.training.train import TrainingPlan, train

    first = train_small(tmp_path)
    stages: list[str] = []
    split = read_split(first.folder / "split.json")
    plan = TrainingPlan(
        "pets",
        split,
        small_recipe(),
        tmp_path / "again",
        tmp_path / "cache",
        weights="none",
        feature_precision="float32",
    )

    train(plan, lambda stage, _done, _total: stages.append(stage))

    assert set(stages) == {"train the head"}


def test_unreadable_photos_are_all_named(tmp_path: Path) -> None:
    from export.data.caches import PixelSource, cached_pixels
    from export.data.photos import list_photos
    from export.progress import silent

    write_class_folders(tmp_path / "photos", each=3)
    (tmp_path / "photos" / "cat" / "0.jpg").write_bytes(b"not a photo")
    (tmp_path / "photos" / "dog" / "1.jpg").write_bytes(b"")
    photos = list_photos(tmp_path / "photos")
    source = PixelSource("training", tmp_path / "photos", photos, (8, 8))

    with pytest.raises(DatasetError, match=r"2 photos .*cat/0.jpg.*dog/1.jpg"):
        cached_pixels(source, tmp_path / "cache", silent)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_versions_count_up_and_are_complete(published: Path) -> None:
    base = published / "pets"

    assert published_versions(base) == [2, 1]
    assert not list(base.glob(".tmp-*"))
    for version in (1, 2):
        card = ModelCard.from_json((base / str(version) / CARD_FILE).read_text())
        assert card.version == version
        assert card.labels == ("cat", "dog")
        assert card.training["counts"]["valid"] == {"cat": 8, "dog": 8}
        assert (base / str(version) / WARMUP_FILE).stat().st_size > 0
    entry = read_model_config(published / "models.config")[0]
    assert (entry.name, entry.versions_kept) == ("pets", 2)
    assert entry.base_path == Path("/models/pets")


def test_weights_are_stored_once(published: Path, small_run: TrainedRun) -> None:
    from export.training.classifier import build_classifier

    stored = sum(
        each.stat().st_size for each in (published / "pets/1/variables").iterdir()
    )

    parameters = build_classifier(small_run).count_params()
    assert stored < 1.2 * 4 * parameters + 4096


def test_savedmodel_that_answers_otherwise_is_not_published(
    small_run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import export.publication.savedmodel
    from export.publication.publish import publish
    from models.errors import ModelContractError

    monkeypatch.setattr(export.publication.savedmodel, "MAX_SKEW", -1.0)

    with pytest.raises(ModelContractError, match="off by"):
        publish(small_run, tmp_path)
    assert published_versions(tmp_path / "pets") == []
    assert not list((tmp_path / "pets").glob(".tmp-*"))


def test_evaluation_of_a_folder_equals_the_cached_one(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.evaluation.prediction import predict_photos, write_probabilities

    folder = Path(small_run.split.folder)
    predicted = predict_photos(small_run, folder)
    write_probabilities(predicted, small_run, tmp_path / "rows.csv")

    with (tmp_path / "rows.csv").open(newline="") as stream:
        rows = {row["file"]: float(row["dog"]) for row in csv.DictReader(stream)}
    logits, _ = small_run.validation()
    expected = softmax_dog(logits, small_run.calibration.temperature)
    found = [rows[photo.file] for photo in small_run.split.valid]
    assert found == pytest.approx(expected, abs=1e-6)


def softmax_dog(logits: Any, temperature: float) -> list[float]:
    from models.probabilities import softmax

    return [float(value) for value in softmax(logits, temperature)[:, 1]]


def test_report_shows_matrix_galleries_and_chart(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from kennel.cli import main

    target = tmp_path / "report.html"
    result = CliRunner().invoke(
        main, ["report", str(small_run.folder), "-o", str(target)]
    )

    page = target.read_text()
    assert result.exit_code == 0, result.output
    for title in ("Correct, at random", "Wrong, at random", "Most correct: cat"):
        assert title in page
    assert "Most uncertain" in page
    assert page.count("data:image/jpeg;base64,") >= 8
    assert "<polyline" in page
    assert "called dog" in page


def test_keras_weight_file_is_read_layer_by_layer(tmp_path: Path) -> None:
    import h5py

    from models.networks.vgg16 import BLOCKS, convolution_layer_names
    from models.networks.weights import load_weights

    depths = [filters for count, filters in BLOCKS for _ in range(count)]
    file = tmp_path / "vgg16.h5"
    with h5py.File(file, "w") as stored:
        before = 3
        for name, filters in zip(convolution_layer_names(), depths, strict=True):
            group = stored.create_group(name)
            names = [f"{name}_W_1:0", f"{name}_b_1:0"]
            group.attrs["weight_names"] = [each.encode() for each in names]
            group[names[0]] = np.zeros((3, 3, before, filters), np.float32)
            group[names[1]] = np.full(filters, 0.5, np.float32)
            before = filters

    weights = load_weights(str(file))

    assert weights is not None
    assert len(weights.layers) == 13
    assert weights.layers["block5_conv3"][1][0] == 0.5


def test_package_weights_are_the_published_first_layer() -> None:
    pytest.importorskip("onnx", reason="the demo extra is not installed")
    from models.networks.weights import load_weights

    weights = load_weights("package")

    assert weights is not None
    kernel, bias = weights.layers["block1_conv1"]
    # The first values of Keras's ImageNet release of VGG16.
    assert kernel[0, 0, :, 0] == pytest.approx([0.42947, 0.55038, 0.48002], abs=1e-4)
    assert bias[0] == pytest.approx(0.7343, abs=1e-4)


def test_missing_weights_name_the_remedy(tmp_path: Path) -> None:
    from models.networks.weights import load_weights

    with pytest.raises(DatasetError, match="cannot be read as a Keras"):
        load_weights(str(tmp_path / "none.h5"))


def test_card_is_json_with_everything_needed(published: Path) -> None:
    card = json.loads((published / "pets" / "2" / CARD_FILE).read_text())

    assert card["weights"]["source"] == "none"
    assert len(card["training"]["files_sha256"]) == 64
    assert card["temperature"] > 0
    assert card["metrics"]["validation"]["images"] == 16
    assert card["libraries"]["tensorflow"]
