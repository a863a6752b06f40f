"""Version folders that look published, without TensorFlow: a card and an empty graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.publication.served import (
    CONTAINER_MODELS_DIR,
    locked,
    read_served,
    write_served,
)
from models.contract import CARD_FILE
from models.wire.config import ModelEntry
from tests.fake_model_server import CARD


def write_versions(models_dir: Path, *versions: int, name: str = "pets") -> None:
    metrics = {"validation": {"accuracy": 0.9, "log_loss_calibrated": 0.25}}
    for version in versions:
        folder = models_dir / name / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
        card = replace(CARD, name=name, version=version, metrics=metrics)
        (folder / CARD_FILE).write_text(card.to_json())


def serve(models_dir: Path, *specific: int, name: str = "pets", **labels: int) -> None:
    entry = ModelEntry(
        name,
        Path(CONTAINER_MODELS_DIR / name),
        versions_kept=2,
        specific_versions=specific,
        labels=tuple(sorted(labels.items())),
    )
    with locked(models_dir):
        write_served(models_dir, {**read_served(models_dir), name: entry})
