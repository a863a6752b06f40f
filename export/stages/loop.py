"""One stage of training: epochs that can be interrupted, early stopping, best weights.

Everything random in an epoch (order, augmentation, dropout) comes from the seed and the
epoch's number alone, so a run that was killed goes on exactly as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from export.recipes.catalogue import Recipe, Stage
from export.recipes.remedies import scaled_rate
from export.stages.answers import evaluate, unwrap
from export.stages.checkpoints import CheckpointFolder, StageProgress
from export.stages.examples import Examples, batches
from export.stages.history import Epoch
from export.stages.movement import check_moved
from export.stages.optimizers import build_optimizer, learning_rate
from export.stages.stopping import is_over
from models.errors import DatasetError


@dataclass(frozen=True)
class StageRun:
    """One stage of one member, and everything it depends on."""

    recipe: Recipe
    stage: Stage
    member: int
    number: int
    seed: int
    train: Examples
    valid: Examples
    checkpoints: CheckpointFolder
    report: Callable[[int, int], None]


def run_stage(run: StageRun, model: Any, baseline: float) -> tuple[Epoch, ...]:
    """Train *model* in place; it ends with the best weights, *baseline* included.

    *baseline* is the validation loss of the weights it comes with (infinite for random
    ones): when no epoch beats it, they stay.

    Raises:
        DatasetError: the loss is not a number, or weights moved that should not have,
            or did not move that should have.
    """
    _compile(model, run)
    before = model.get_weights()
    progress = StageProgress(run.member, run.number, (), 0, baseline)
    interrupted = run.checkpoints.read(run.member, run.number)
    if interrupted is not None:
        progress, state = interrupted
        _restore(model, state)
    while not is_over(run.stage, progress.epochs, progress.best_epoch):
        progress = _train_epoch(run, model, progress)
        state = [*model.get_weights(), *_optimizer_state(model)]
        run.checkpoints.write(progress, state)
        run.report(len(progress.epochs), run.stage.epochs)
    check_moved(model, before)
    best = progress.best_epoch
    if run.stage.keep == "best":
        model.set_weights(run.checkpoints.read_best(best) if best else before)
    run.report(run.stage.epochs, run.stage.epochs)
    return progress.epochs


def _compile(model: Any, run: StageRun) -> None:
    # After every change of `trainable`: Keras reads it here and never again.
    model.compile(
        build_optimizer(run.recipe, run.stage),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=run.recipe.label_smoothing
        ),
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)


def _train_epoch(run: StageRun, model: Any, progress: StageProgress) -> StageProgress:
    number = len(progress.epochs) + 1
    entropy = np.random.SeedSequence([run.seed, run.member, run.number, number])
    _reseed(model, entropy)
    order = np.random.default_rng(entropy).permutation(len(run.train.targets))
    rate = learning_rate(run.stage, number)
    model.optimizer.learning_rate = rate
    learnt = _learn(run, model, order, number)
    loss, accuracy = evaluate(model, run.valid)
    _check_finite(loss, run, number, rate)
    place = (run.member, run.number, number)
    epoch = Epoch(*place, rate, *learnt, loss, accuracy)
    progress = replace(progress, epochs=(*progress.epochs, epoch))
    if loss < progress.best_loss:
        run.checkpoints.write_best(number, model.get_weights())
        return replace(progress, best_epoch=number, best_loss=loss)
    return progress


def _learn(
    run: StageRun, model: Any, order: NDArray[np.int64], epoch: int
) -> tuple[float, float]:
    totals = np.zeros(2)
    for inputs, targets in batches(run.train, order, run.recipe.batch_size, epoch):
        logs = model.train_on_batch(unwrap(inputs), targets, return_dict=True)
        _check_finite(float(logs["loss"]), run, epoch, learning_rate(run.stage, epoch))
        # Keras forgets the batches before this one.
        totals += len(targets) * np.array([logs["loss"], logs["accuracy"]])
    loss, accuracy = totals / len(order)
    return float(loss), float(accuracy)


def _check_finite(loss: float, run: StageRun, epoch: int, rate: float) -> None:
    if math.isfinite(loss):
        return
    message = (
        f"the loss is {loss} in epoch {epoch} of stage {run.number} (learning rate "
        f"{rate:g}): try {scaled_rate(run.recipe, run.number, 0.1)}"
    )
    raise DatasetError(message)


def _reseed(model: Any, entropy: np.random.SeedSequence) -> None:
    # Dropout draws from variables of its own, which are no weights.
    states = [
        each for each in model.variables if each.path.endswith("seed_generator_state")
    ]
    for state, words in zip(states, entropy.spawn(len(states)), strict=True):
        state.assign(words.generate_state(2))


def _optimizer_state(model: Any) -> list[NDArray[Any]]:
    return [np.asarray(variable) for variable in model.optimizer.variables]


def _restore(model: Any, state: Sequence[NDArray[Any]]) -> None:
    count = len(model.weights)
    model.set_weights(list(state[:count]))
    for variable, value in zip(model.optimizer.variables, state[count:], strict=True):
        variable.assign(value)
