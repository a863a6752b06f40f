"""A small, real training run: VGG16's first block, random weights, generated photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.training import train_small

if TYPE_CHECKING:
    from export.training.runs import TrainedRun


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return train_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def published(small_run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with two versions of the same run."""
    from export.publication.publish import publish

    models_dir = tmp_path_factory.mktemp("published")
    publish(small_run, models_dir)
    publish(small_run, models_dir)
    return models_dir
