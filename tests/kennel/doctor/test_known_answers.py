"""`kennel doctor model-server` sends known photos to an embedded server, and compares."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kennel.doctor.deployment import CheckResult
from kennel.doctor.examination import examine
from models.contract import KNOWN_ANSWERS_FILE, KnownAnswers, ModelCard
from models.networks.runtime import start_tensorflow
from tests.fake_model_server import CARD
from tests.processes import free_port
from tests.tiny_model import build_brightness_classifier, publish_tiny_model

pytestmark = pytest.mark.tensorflow

Compute = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@contextmanager
def serving(models_dir: Path) -> Iterator[str]:
    """The address of a server of the "pets" in *models_dir*."""
    start_tensorflow()
    from models.server.main import ServerOptions, make_versions, start_server

    options = ServerOptions(
        free_port(), model_name="pets", model_base_path=models_dir / "pets"
    )
    versions = make_versions(options, threading.Event())
    versions.poll()
    server = start_server(versions, options)
    yield f"127.0.0.1:{options.port}"
    server.stop(0).wait()


def publish(models_dir: Path, precision: str = "float32") -> Path:
    """The folder of a version that knows its answers for two photos."""
    publish_tiny_model(models_dir, 1, replace(CARD, precision=precision))
    folder = models_dir / "pets" / "1"
    import tensorflow as tf

    levels = np.array([[60], [200]], np.uint8)
    pixels = np.broadcast_to(levels[..., None, None], (2, *CARD.image_size, 3))
    predict = tf.saved_model.load(str(folder)).signatures["serving_default"]
    answers = predict(images=tf.constant(pixels))
    known = KnownAnswers(
        ("cat/1.jpg", "dog/2.jpg"),
        pixels,
        answers["probabilities"].numpy(),
        answers["logits"].numpy(),
    )
    (folder / KNOWN_ANSWERS_FILE).write_bytes(known.to_bytes())
    return folder


def change_answers(folder: Path, by: float) -> None:
    file = folder / KNOWN_ANSWERS_FILE
    known = KnownAnswers.from_bytes(file.read_bytes())
    changed = known.logits + np.array([[0, 0], [0, by]], np.float32)
    file.write_bytes(replace(known, logits=changed).to_bytes())


def build_other_weights(card: ModelCard) -> Any:
    model = build_brightness_classifier(card)
    model.set_weights([each * 1.01 for each in model.get_weights()])
    return model


def findings(models_dir: Path, target: str, **env: str) -> dict[str, CheckResult]:
    env |= {"MODELS_DIR": str(models_dir), "MODEL_SERVER": target}
    report = examine(env, ["model-server"])
    return {each.check: each for each in report["model-server"]}


def examined(models_dir: Path) -> CheckResult:
    with serving(models_dir) as target:
        return findings(models_dir, target)["pets 1 answers"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "int8"])
def test_version_that_answers_as_at_its_export_is_sound(
    tmp_path: Path, precision: str
) -> None:
    publish(tmp_path, precision)

    found = examined(tmp_path)

    assert found.verdict == "ok", found.seen
    assert "2 known photos differ at most by 0 in a probability" in found.seen


def test_other_weights_are_found(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    other = tmp_path / "other"
    publish_tiny_model(other, 1, CARD, build_other_weights)
    shutil.rmtree(folder / "variables")
    shutil.copytree(other / "pets" / "1" / "variables", folder / "variables")

    found = examined(tmp_path)

    assert found.verdict == "failed"
    assert "'pets' version 1 does not answer as it did at its export" in found.seen
    assert "photo cat/1.jpg differs by 0.0021 in a probability" in found.seen
    assert "(1e-05 is allowed)" in found.seen
    assert "restore it, or export it again" in found.remedy


@pytest.mark.parametrize(
    ("precision", "by", "verdict"),
    [
        ("float32", 0.0001, "ok"),
        ("float32", 0.01, "failed"),
        ("float16", 0.01, "ok"),
        ("float16", 0.2, "failed"),
        ("bfloat16", 0.1, "ok"),
        ("bfloat16", 2.0, "failed"),
        ("int8", 0.01, "failed"),
    ],
)
def test_difference_is_allowed_by_precision(
    tmp_path: Path, precision: str, by: float, verdict: str
) -> None:
    change_answers(publish(tmp_path, precision), by)

    found = examined(tmp_path)

    assert found.verdict == verdict, found.seen
    assert ("--precision float32" in found.remedy) == (
        verdict == "failed" and precision != "float32"
    )


def test_float32_on_a_gpu_may_differ_as_float16_may(tmp_path: Path) -> None:
    change_answers(publish(tmp_path), by=0.01)

    with serving(tmp_path) as target:
        found = findings(tmp_path, target, MODEL_SERVER_DEVICE="gpu")

    assert found["pets 1 answers"].verdict == "ok", found["pets 1 answers"].seen


def test_version_without_known_answers_is_sound_but_unchecked(tmp_path: Path) -> None:
    (publish(tmp_path) / KNOWN_ANSWERS_FILE).unlink()

    with serving(tmp_path) as target:
        found = findings(tmp_path, target)

    assert found["pets 1"].verdict == "ok"
    assert found["pets 1 answers"].verdict == "unchecked"
    assert "kennel export RUN" in found["pets 1 answers"].remedy


def test_damaged_known_answers_are_found(tmp_path: Path) -> None:
    file = publish(tmp_path) / KNOWN_ANSWERS_FILE
    file.write_bytes(file.read_bytes()[:-100])

    assert examined(tmp_path).verdict == "failed"


def test_known_photos_of_another_size_are_found(tmp_path: Path) -> None:
    file = publish(tmp_path) / KNOWN_ANSWERS_FILE
    known = KnownAnswers.from_bytes(file.read_bytes())
    file.write_bytes(replace(known, pixels=known.pixels[:, :8, :8]).to_bytes())

    found = examined(tmp_path)

    assert found.verdict == "failed"
    assert "does not answer its known photos" in found.seen


def test_version_on_disk_that_is_not_served_is_named(tmp_path: Path) -> None:
    publish(tmp_path)
    for version in (2, 3):
        publish_tiny_model(tmp_path, version)

    with serving(tmp_path) as target:
        found = findings(tmp_path, target)

    assert found["pets not served"].seen.startswith("version 1: kennel rollback pets")
    assert "pets 1 answers" not in found
    assert found["pets 3 answers"].verdict == "unchecked"
