"""Publishing: a complete version with its card, and its weights once."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from export.publication.pruning import remove_model
from export.publication.published import list_versions
from export.publication.served import read_served
from models.contract import (
    CARD_FILE,
    KNOWN_ANSWERS_FILE,
    REPORT_FILE,
    WARMUP_FILE,
    KnownAnswers,
    ModelCard,
    tolerance_of,
)
from models.errors import ConflictError, DatasetError, InvalidRequestError, KennelError
from models.rollouts import (
    ABORTED,
    ROLLOUTS_FILE,
    Rollout,
    read_rollouts,
    render_rollouts,
)
from models.wire.config import PER_MODEL_FILE, published_versions, read_model_config
from tests.export.publication.versions import serve, write_versions
from tests.processes import wait_until

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
        assert card.precision == "float32"
        assert card.training["counts"]["valid"] == {"cat": 8, "dog": 8}
        called = zip(*card.metrics["validation"]["confusion_matrix"], strict=True)
        assert card.validation_spread is not None
        assert card.validation_spread.labels == tuple(map(sum, called))
        assert (base / str(version) / WARMUP_FILE).stat().st_size > 0
    entry = read_model_config(published / "models.config")[0]
    assert (entry.name, entry.versions_kept) == ("pets", 2)
    assert entry.base_path == Path("/models/pets")


def test_weights_are_stored_once(published: Path, small_run: TrainedRun) -> None:
    from export.training.classifier import build_ensemble

    stored = sum(
        each.stat().st_size for each in (published / "pets/1/variables").iterdir()
    )

    parameters = build_ensemble(small_run).join().count_params()
    assert stored < 1.2 * 4 * parameters + 4096


def test_report_goes_with_the_version(published: Path) -> None:
    report = published / "pets" / "2" / REPORT_FILE

    page = report.read_text()

    assert "<title>pets 2: 16 validation photos</title>" in page
    assert '<section id="card"' in page


def test_known_answers_are_those_of_the_version_for_photos_of_each_label(
    published: Path, small_run: TrainedRun
) -> None:
    import tensorflow as tf

    folder = published / "pets" / "1"
    known = KnownAnswers.from_bytes((folder / KNOWN_ANSWERS_FILE).read_bytes())
    predict = tf.saved_model.load(str(folder)).signatures["serving_default"]
    answers = predict(images=tf.constant(known.pixels))

    deviation = known.largest_deviation(
        answers["probabilities"].numpy(),
        answers["logits"].numpy(),
        tolerance_of("float32"),
    )
    assert deviation.is_allowed, deviation
    assert [Path(photo).parent.name for photo in known.photos] == [
        "cat",
        "dog",
        "cat",
        "dog",
    ]
    assert {*known.photos} <= {photo.file for photo in small_run.split.valid}
    second = published / "pets" / "2" / KNOWN_ANSWERS_FILE
    assert second.read_bytes() == known.to_bytes()


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
    from export.publication.rollouts import (
        abort_rollout,
        begin_rollout,
        load_canary,
        run_rollout,
    )
    from export.publication.served import find_rollout

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


KILLED_BEFORE_RENAME = """
import os, signal, sys
name = sys.argv.pop(1)
def kill(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(name):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
from kennel.cli import main
main()
"""


@contextmanager
def exporting(
    run: TrainedRun, models_dir: Path, start: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A real ``kennel export`` of *run*, ended at the end of the block."""
    home = {"KENNEL_HOME": str(models_dir), "RUNS_DIR": str(run.folder.parents[1])}
    process = subprocess.Popen(
        [sys.executable, *start, "export", run.folder.name],
        env={**os.environ, **home, "MODELS_DIR": str(models_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def kill_before_rename(run: TrainedRun, models_dir: Path, name: str) -> None:
    with exporting(run, models_dir, ("-c", KILLED_BEFORE_RENAME, name)) as process:
        assert process.wait(60) == -signal.SIGKILL


def publish_again(run: TrainedRun, models_dir: Path) -> int:
    from export.publication.publish import publish

    version = publish(run, models_dir).version
    assert not list((models_dir / "pets").glob(".tmp-*"))
    assert list_versions(models_dir)[0].state == "answers"
    assert read_served(models_dir)["pets"].loaded([version]) == [version]
    return version


def test_export_killed_while_it_writes_the_graph(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    with exporting(small_run, tmp_path, ("-m", "kennel.cli")) as process:
        wait_until(
            lambda: process.poll() or list(tmp_path.glob("pets/.tmp-1-*/variables")),
            "the beginning of the export",
            60,
        )
        assert process.poll() is None
        process.kill()

    assert published_versions(tmp_path / "pets") == []
    assert read_served(tmp_path) == {}
    assert publish_again(small_run, tmp_path) == 1


def test_export_killed_before_the_version_takes_its_name(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    write_versions(tmp_path, 1, 2, 3)
    serve(tmp_path, 3, 2, 1, stable=1)

    kill_before_rename(small_run, tmp_path, "pets/4")

    entry = read_served(tmp_path)["pets"]
    assert entry.loaded(published_versions(tmp_path / "pets")) == [3, 1]
    assert dict(entry.labels) == {"stable": 1}
    assert publish_again(small_run, tmp_path) == 4


def test_export_killed_before_a_new_model_is_configured(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    kill_before_rename(small_run, tmp_path, "models.config")

    assert not (tmp_path / "models.config").exists()
    assert [each.problem for each in list_versions(tmp_path)] == [""]
    assert publish_again(small_run, tmp_path) == 2


def test_full_disk_is_told_and_leaves_nothing(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(KennelError, match="is the disk full") as caught:
            publish(small_run, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "Nothing was published" in str(caught.value)
    assert [each.name for each in (tmp_path / "pets").iterdir()] == [".lock"]
    assert not (tmp_path / "models.config").exists()
