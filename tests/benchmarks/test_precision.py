"""Engines compute in turns, in processes of their own, and are compared within a round."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engines.launch import (
    OWN_PYTHON,
    EngineError,
    EngineInputs,
    EngineModel,
    running_engine,
)
from benchmarks.precision import Figures, median_ratio, table, take_turns
from tests.fake_model_server import CARD
from tests.tiny_model import publish_tiny_model


class Machine:
    """A machine that every turn slows down; it computes 10 images/s at first."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, int]] = []

    def speed(self, engine: str, factor: float, batch_size: int) -> float:
        self.turns.append((engine, batch_size))
        return factor * 10 / len(self.turns)


def test_engines_take_turns_after_a_round_that_does_not_count() -> None:
    machine = Machine()

    speeds = take_turns(
        {
            "slow": lambda size: machine.speed("slow", 1, size),
            "fast": lambda size: machine.speed("fast", 4, size),
        },
        rounds=2,
        batches=(1, 8),
    )

    one_round = [("slow", 1), ("fast", 1), ("slow", 8), ("fast", 8)]
    assert machine.turns == 3 * one_round
    assert speeds["slow"] == {1: [10 / 5, 10 / 9], 8: [10 / 7, 10 / 11]}


def test_ratio_is_that_of_a_round_however_the_machine_drifts() -> None:
    # The ratio of the medians would be 2.
    assert median_ratio([40, 20, 20], [10, 5, 20]) == 4


def test_table_compares_each_engine_with_float32() -> None:
    figures = Figures({1: [5.0, 6.0, 7.0], 32: [8.0, 8.0, 9.0]}, 0.87, 0.31)
    faster = replace(figures, speeds={1: [15.0, 12.0, 21.0], 32: [32.0, 32.0, 36.0]})

    lines = [
        " ".join(line.split()) for line in table({"float32": figures, "int8": faster})
    ]

    assert lines == [
        "images/s (ratio) batch 1 batch 32 accuracy log loss",
        "float32 6.0 (1.00) 8.0 (1.00) 0.8700 0.3100",
        "int8 15.0 (3.00) 32.0 (4.00) 0.8700 0.3100",
    ]


@pytest.mark.tensorflow
def test_engine_answers_as_its_model_does(tmp_path: Path) -> None:
    publish_tiny_model(tmp_path, 1)
    model = EngineModel("TensorFlow", OWN_PYTHON, tmp_path / CARD.name / "1")
    levels = np.array([20, 100, 240], np.uint8)
    photos = np.broadcast_to(levels[:, None, None, None], (3, *CARD.image_size, 3))

    with running_engine(model, _inputs(tmp_path, photos)) as engine:
        speeds = [engine.images_per_second(1), engine.images_per_second(3)]
        probabilities = engine.probabilities()

    assert min(speeds) > 0
    assert probabilities.shape == (3, 2)
    assert list(probabilities.argmax(axis=1)) == [0, 0, 1]


def test_engine_that_is_not_installed_says_so(tmp_path: Path) -> None:
    model = EngineModel("OpenVINO", Path(sys.executable), tmp_path)
    photos = np.zeros((1, 8, 8, 3), np.uint8)

    with (
        pytest.raises(EngineError, match="No module named 'nncf'"),
        running_engine(model, _inputs(tmp_path, photos)),
    ):
        pass


def _inputs(folder: Path, photos: np.typing.NDArray[np.uint8]) -> EngineInputs:
    np.save(folder / "photos.npy", photos)
    return EngineInputs(folder / "photos.npy", folder / "photos.npy", threads=1)
