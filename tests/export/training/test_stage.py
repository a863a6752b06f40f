"""One training stage: early stopping, best weights, frozen and trained layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import DatasetError, InvalidRequestError
from models.networks.runtime import start_tensorflow

if TYPE_CHECKING:
    from export.training.stage import StageRun


pytestmark = pytest.mark.tensorflow


@dataclass(frozen=True)
class Points:
    """Two clouds of points as examples."""

    values: NDArray[np.float32]
    targets: NDArray[np.float32]

    def inputs(
        self, rows: NDArray[np.integer[Any]], epoch: int
    ) -> list[NDArray[np.float32]]:
        del epoch
        return [self.values[rows]]


def clouds(seed: int, count: int = 64) -> Points:
    generator = np.random.default_rng(seed)
    classes = np.arange(count) % 2
    values = generator.normal(classes[:, None] * 2 - 1, 1, (count, 3))
    targets = np.eye(2, dtype=np.float32)[classes]
    return Points(values.astype(np.float32), targets)


def dense_model(*, frozen: bool = False) -> Any:
    start_tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="hidden", trainable=not frozen),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(2, name="logits"),
        ]
    )


@pytest.fixture
def stage_run(tmp_path: Path) -> Callable[..., StageRun]:
    start_tensorflow()
    from export.recipes.catalogue import Recipe, Stage
    from export.training.checkpoints import CheckpointFolder
    from export.training.stage import StageRun

    def make(stage: Stage, valid: Points | None = None) -> StageRun:
        return StageRun(
            recipe=Recipe("test", "a test", stages=(stage,), batch_size=16),
            stage=stage,
            member=1,
            number=1,
            seed=3,
            train=clouds(1),
            valid=valid or clouds(2),
            checkpoints=CheckpointFolder(tmp_path),
            report=lambda _done, _total: None,
        )

    return make


def test_best_weights_by_validation_loss_are_kept(stage_run: Any) -> None:
    from export.recipes.catalogue import Stage
    from export.training.stage import evaluate, run_stage

    model = dense_model()
    run = stage_run(Stage(epochs=30, patience=30, learning_rate=0.3, optimizer="adam"))
    epochs = run_stage(run, model, float("inf"))

    best = min(epoch.val_loss for epoch in epochs)
    assert best < epochs[-1].val_loss
    assert evaluate(model, run.valid)[0] == pytest.approx(best)


def test_training_figures_are_of_the_whole_epoch(stage_run: Any) -> None:
    import keras

    from export.recipes.catalogue import Stage
    from export.training.stage import evaluate, run_stage

    dense = [each for each in dense_model().layers if "dropout" not in each.name]
    model = keras.Sequential([keras.Input((3,)), *dense])
    run = stage_run(Stage(epochs=1, learning_rate=1e-6, optimizer="sgd"))
    before = evaluate(model, run.train)
    epochs = run_stage(run, model, float("inf"))

    assert epochs[0].loss == pytest.approx(before[0], abs=1e-3)
    assert epochs[0].accuracy == pytest.approx(before[1])


def test_training_stops_when_patience_is_over(stage_run: Any) -> None:
    from export.recipes.catalogue import Stage
    from export.training.stage import run_stage

    wrong = clouds(2)
    opposite = replace(wrong, targets=wrong.targets[:, ::-1].copy())
    run = stage_run(Stage(epochs=50, patience=3, learning_rate=0.1), opposite)
    epochs = run_stage(run, dense_model(), float("inf"))

    losses = [epoch.val_loss for epoch in epochs]
    assert len(epochs) == int(np.argmin(losses)) + 1 + 3


def test_stage_that_makes_it_worse_leaves_the_weights(stage_run: Any) -> None:
    from export.recipes.catalogue import Stage
    from export.training.stage import run_stage

    model = dense_model()
    before = model.get_weights()
    run_stage(stage_run(Stage(epochs=3, learning_rate=1e-3)), model, baseline=0.0)

    assert all(map(np.array_equal, before, model.get_weights()))


def test_frozen_layers_stand_still_and_the_others_move(stage_run: Any) -> None:
    from export.recipes.catalogue import Stage
    from export.training.stage import run_stage

    model = dense_model(frozen=True)
    before = model.get_weights()
    run_stage(stage_run(Stage(epochs=2)), model, float("inf"))

    after = model.get_weights()
    assert all(map(np.array_equal, before[:2], after[:2]))
    assert not any(map(np.array_equal, before[2:], after[2:]))


def test_weights_that_should_have_moved_are_named() -> None:
    from export.training.stage import check_moved

    model = dense_model()

    with pytest.raises(DatasetError, match=r"no weight of .*hidden/kernel.*frozen"):
        check_moved(model, model.get_weights())


def test_weights_that_should_not_have_moved_are_named() -> None:
    from export.training.stage import check_moved

    model = dense_model(frozen=True)
    before = [array + 1 for array in model.get_weights()]

    with pytest.raises(DatasetError, match=r"frozen weights: .*hidden/kernel"):
        check_moved(model, before)


def test_loss_that_is_no_number_stops_at_once(stage_run: Any) -> None:
    from export.recipes.catalogue import Stage
    from export.training.stage import run_stage

    run = stage_run(Stage(epochs=50, learning_rate=1e30, optimizer="sgd"))

    with pytest.raises(DatasetError, match=r"in epoch \d.*try --learning-rate 1e\+29$"):
        run_stage(run, dense_model(), float("inf"))


def test_infinite_logits_have_no_loss_and_give_no_warning() -> None:
    from export.training.stage import loss_and_accuracy

    loss, _ = loss_and_accuracy(
        np.array([[np.inf, 0]], np.float32), np.eye(2, dtype=np.float32)[:1]
    )

    assert np.isnan(loss)


def test_cosine_falls_from_the_rate_towards_zero() -> None:
    from export.recipes.catalogue import Stage
    from export.training.stage import learning_rate

    stage = Stage(epochs=10, learning_rate=0.1, schedule="cosine")
    rates = [learning_rate(stage, epoch) for epoch in range(1, 11)]

    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.1 * 0.0244717, rel=1e-4)


def test_unknown_optimizer_and_schedule_are_named() -> None:
    start_tensorflow()
    from export.recipes.catalogue import Recipe, Stage
    from export.training.stage import build_optimizer, learning_rate

    with pytest.raises(InvalidRequestError, match="no optimizer 'adum'"):
        build_optimizer(Recipe("test", "a test"), Stage(optimizer="adum"))
    with pytest.raises(InvalidRequestError, match="no schedule 'step'"):
        learning_rate(Stage(schedule="step"), 1)
