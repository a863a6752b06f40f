"""A small, real training run: VGG16's first block, random weights, generated photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.files import locked_file
from models.networks.runtime import start_tensorflow
from tests.training import train_small

if TYPE_CHECKING:
    from export.training.runs import TrainedRun


@pytest.fixture(scope="session")
def small_run(shared_folder: Path) -> TrainedRun:
    """Trained by the test process that needs it first, read by all."""
    start_tensorflow()
    home = shared_folder / "small"
    with locked_file(shared_folder / "small.lock"):
        if not home.exists():
            train_small(home)
    from export.training.runs import read_run

    return read_run("small", home / "runs")


@pytest.fixture(scope="session")
def published(small_run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with two versions of the same run."""
    from export.publication.publish import publish

    models_dir = tmp_path_factory.mktemp("published")
    publish(small_run, models_dir)
    publish(small_run, models_dir)
    return models_dir
