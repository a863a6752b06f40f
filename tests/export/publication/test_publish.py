"""What is published: complete, described, its weights once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from export.publication.pruning import remove_model
from models.contract import CARD_FILE, REPORT_FILE, WARMUP_FILE, ModelCard
from models.errors import ConflictError, DatasetError, InvalidRequestError
from models.rollouts import (
    ABORTED,
    ROLLOUTS_FILE,
    Rollout,
    read_rollouts,
    render_rollouts,
)
from models.wire.config import PER_MODEL_FILE, published_versions, read_model_config
from tests.export.publication.versions import serve, write_versions

if TYPE_CHECKING:
    from export.training.runs import TrainedRun

pytestmark = pytest.mark.tensorflow


def test_versions_count_up_and_are_complete(published: Path) -> None:
    base = published / "pets"

    assert published_versions(base) == [2, 1]
    assert not list(base.glob(".tmp-*"))
    for version in (1, 2):
        card = ModelCard.from_json((base / str(version) / CARD_FILE).read_text())
        assert card.version == version
        assert card.labels == ("cat", "dog")
        assert card.training["counts"]["valid"] == {"cat": 8, "dog": 8}
        called = zip(*card.metrics["validation"]["confusion_matrix"], strict=True)
        assert card.validation_spread is not None
        assert card.validation_spread.labels == tuple(map(sum, called))
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


def test_report_goes_with_the_version(published: Path) -> None:
    report = published / "pets" / "2" / REPORT_FILE

    page = report.read_text()

    assert "<title>pets 2: 16 validation photos</title>" in page
    assert '<section id="card"' in page


def test_batching_parameters_of_a_model_go_with_its_versions(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish

    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / PER_MODEL_FILE).write_text("max_batch_size { value: 32 }")

    publish(small_run, tmp_path)

    own = tmp_path / "pets" / "1" / PER_MODEL_FILE
    assert own.read_text() == "max_batch_size { value: 32 }"


def test_batching_parameters_that_no_server_takes_are_not_published(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish

    (tmp_path / "pets").mkdir()
    file = tmp_path / "pets" / PER_MODEL_FILE
    file.write_text("max_batch_size { value: 32 } allowed_batch_sizes: 8")

    with pytest.raises(InvalidRequestError, match=f"{file}: .* append 32"):
        publish(small_run, tmp_path)


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


def answering(models_dir: Path) -> list[int]:
    from export.publication.served import served_model

    entry, versions = served_model(models_dir, "pets")
    return entry.loaded(versions)


def test_held_version_is_not_loaded_until_its_rollout(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish

    for hold_back in (False, False, True):
        publish(small_run, tmp_path, hold_back=hold_back)

    assert published_versions(tmp_path / "pets") == [3, 2, 1]
    assert answering(tmp_path) == [2, 1]


def test_folder_that_is_not_utf8_is_refused_before_any_work(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish

    with pytest.raises(DatasetError, match="not UTF-8"):
        publish(small_run, tmp_path / os.fsdecode(b"m\xfc"))

    assert not list(tmp_path.iterdir())


def test_first_version_cannot_be_held_back(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish
    from models.errors import ConflictError

    with pytest.raises(ConflictError, match="export without --hold"):
        publish(small_run, tmp_path, hold_back=True)


def test_version_published_during_a_rollout_waits_too(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish
    from export.publication.rollout_file import find_rollout
    from export.publication.rollouts import (
        abort_rollout,
        begin_rollout,
        load_canary,
        run_rollout,
    )

    publish(small_run, tmp_path)
    publish(small_run, tmp_path, hold_back=True)
    rollout = begin_rollout(tmp_path, "pets", 2, mirror=10)
    load_canary(tmp_path, rollout, needed=())
    run_rollout(tmp_path, rollout, 5)

    publish(small_run, tmp_path)
    assert answering(tmp_path) == [2, 1]
    abort_rollout(tmp_path, "pets")
    publish(small_run, tmp_path)

    assert answering(tmp_path) == [4, 1]
    superseded = find_rollout(tmp_path, "pets")
    assert superseded is not None
    assert superseded.holds(2)
    assert not superseded.pins


def softmax_dog(logits: Any, temperature: float) -> list[float]:
    from models.probabilities import softmax

    return [float(value) for value in softmax(logits, temperature)[:, 1]]


def test_card_is_json_with_everything_needed(published: Path) -> None:
    card = json.loads((published / "pets" / "2" / CARD_FILE).read_text())

    assert card["weights"]["source"] == "none"
    assert len(card["training"]["files_sha256"]) == 64
    assert card["temperature"] > 0
    assert card["metrics"]["validation"]["images"] == 16
    assert card["libraries"]["tensorflow"]


@pytest.mark.parametrize("is_configured", [True, False])
def test_new_model_leaves_the_default_model_as_it_is(
    small_run: TrainedRun, tmp_path: Path, is_configured: bool
) -> None:
    from export.publication.publish import publish

    write_versions(tmp_path, 1, name="solar")
    if is_configured:
        serve(tmp_path, name="solar")

    publish(small_run, tmp_path)

    entries = read_model_config(tmp_path / "models.config")
    assert [each.name for each in entries] == ["solar", "pets"]


def test_export_after_a_removal_counts_the_versions_on(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish

    write_versions(tmp_path, 1, 2)
    remove_model(tmp_path, "pets", lambda: None)
    left = Rollout("pets", "r1", 1, 2, 0, 0, ABORTED, "2026-11-29T12:00:00+00:00")
    (tmp_path / ROLLOUTS_FILE).write_text(render_rollouts([left]))

    with pytest.raises(ConflictError, match="export without --hold"):
        publish(small_run, tmp_path, hold_back=True)
    assert publish(small_run, tmp_path).version == 3
    assert not read_rollouts(tmp_path / ROLLOUTS_FILE)["pets"].pins
