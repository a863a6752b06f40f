"""One stage of training: epochs that can be interrupted, early stopping, best weights.

Everything random in an epoch (order, augmentation, dropout) comes from the seed and the
epoch's number alone, so a run that was killed and resumed gives the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from export.recipes.catalogue import Recipe, Stage
from export.recipes.remedies import scaled_rate
from export.training.checkpoints import CheckpointFolder, Epoch, StageProgress
from export.training.examples import Arrays, Examples, batches
from models.errors import DatasetError, InvalidRequestError, quoted_names
from models.probabilities import accuracy, log_loss, softmax

VALIDATION_BATCH: Final = 128


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

    *baseline* is the validation loss of the weights that *model* begins with (infinite for
    random ones): when no epoch beats it, these are kept.

    Raises:
        DatasetError: the loss is not a number, frozen weights changed, or trained ones
            did not.
    """
    _compile(model, run)
    before = model.get_weights()
    progress = StageProgress(run.member, run.number, (), 0, baseline)
    interrupted = run.checkpoints.read(run.member, run.number)
    if interrupted is not None:
        progress, state = interrupted
        _restore(model, state)
    while not stop_reason(run.stage, progress.epochs, progress.best_epoch):
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


def stop_reason(stage: Stage, epochs: Sequence[Epoch], best_epoch: int) -> str:
    """The reason why *stage* stops after *epochs*; empty: it goes on.

    *best_epoch*: the number of the best of them, 0 for none. Patience looks at the loss, not
    at accuracy: overconfidence grows while accuracy stays flat.
    """
    done, enough = len(epochs), stage.enough_accuracy
    if done and enough is not None and epochs[-1].val_accuracy >= enough:
        return f"validation accuracy reached {enough:g}"
    if done >= stage.epochs:
        return f"--epochs {stage.epochs} reached"
    if done - best_epoch >= stage.patience:
        return f"--patience {stage.patience}: no better validation loss"
    return ""


def learning_rate(stage: Stage, epoch: int) -> float:
    """The learning rate of *epoch* (from 1).

    "cosine": half a cosine from the stage's rate down to zero after the last epoch
    (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts).

    Raises:
        InvalidRequestError: no such schedule.
    """
    if stage.schedule == "constant":
        return stage.learning_rate
    if stage.schedule == "cosine":
        done = (epoch - 1) / stage.epochs
        return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    message = f"no schedule {stage.schedule!r}: choose constant or cosine"
    raise InvalidRequestError(message)


def build_optimizer(recipe: Recipe, stage: Stage) -> Any:
    """The Keras optimizer that *stage* names.

    Raises:
        InvalidRequestError: Keras has none of that name.
    """
    settings: dict[str, Any] = {"learning_rate": stage.learning_rate}
    if stage.optimizer == "adamw":
        settings["weight_decay"] = recipe.weight_decay
    if stage.optimizer == "sgd":
        settings["momentum"] = 0.9
    try:
        return keras.optimizers.get({"class_name": stage.optimizer, "config": settings})
    except (ValueError, TypeError) as error:
        message = (
            f"no optimizer {stage.optimizer!r}: use adamw, adam, rmsprop, sgd or "
            "another of Keras's"
        )
        raise InvalidRequestError(message) from error


def evaluate(model: Any, examples: Examples) -> tuple[float, float]:
    """(log loss, accuracy) of *model* on *examples*, for their likeliest labels."""
    return loss_and_accuracy(predict(model, examples), examples.targets)


def loss_and_accuracy(
    logits: NDArray[np.float32], targets: NDArray[np.float32]
) -> tuple[float, float]:
    """(log loss, accuracy) of *logits* [N, K] for the likeliest labels of *targets*."""
    with np.errstate(invalid="ignore"):  # the caller checks that the loss is finite
        probabilities = softmax(logits)
    classes = targets.argmax(axis=1)
    return log_loss(probabilities, classes), accuracy(probabilities, classes)


def predict(
    model: Any,
    examples: Examples,
    rows: NDArray[np.integer] | None = None,
    batch_size: int = VALIDATION_BATCH,
) -> NDArray[np.float32]:
    """The outputs of *model* for all *examples*, or for some *rows* of them, in order."""
    if rows is None:
        rows = np.arange(len(examples.targets))
    parts = [
        np.asarray(model.predict_on_batch(_unwrap(inputs)), np.float32)
        for inputs, _ in batches(examples, rows, batch_size, epoch=0)
    ]
    return np.concatenate(parts)


def check_moved(model: Any, before: Sequence[NDArray[Any]]) -> None:
    """Check that since *before* the weights of the trained layers changed, and no others.

    Raises:
        DatasetError: others changed, or some did not; the message names them.
    """
    still, moved = [], []
    for variable, old, new in zip(
        model.weights, before, model.get_weights(), strict=True
    ):
        changed = not np.array_equal(old, new)
        if variable.trainable and not changed:
            still.append(variable.path)
        if changed and not _belongs_to_trained_layer(model, variable):
            moved.append(variable.path)
    if still:
        raise DatasetError(
            f"training moved no weight of {quoted_names(still)}: either all photos are "
            "the same, or --learning-rate is too small, or what these layers see is 0 for "
            "every photo, as behind frozen layers with random weights (--weights none)"
        )
    if moved:
        raise DatasetError(f"training moved frozen weights: {quoted_names(moved)}")


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
    trained = _train_batches(run, model, order, number)
    validated = evaluate(model, run.valid)
    _check_finite(validated[0], run, number, rate)
    epoch = Epoch(run.member, run.number, number, rate, *trained, *validated)
    progress = replace(progress, epochs=(*progress.epochs, epoch))
    if epoch.val_loss < progress.best_loss:
        run.checkpoints.write_best(number, model.get_weights())
        return replace(progress, best_epoch=number, best_loss=epoch.val_loss)
    return progress


def _train_batches(
    run: StageRun, model: Any, order: NDArray[np.int64], epoch: int
) -> tuple[float, float]:
    totals = np.zeros(2)
    for inputs, targets in batches(run.train, order, run.recipe.batch_size, epoch):
        logs = model.train_on_batch(_unwrap(inputs), targets, return_dict=True)
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


def _belongs_to_trained_layer(model: Any, variable: Any) -> bool:
    return any(
        layer.trainable and any(each is variable for each in layer.weights)
        for layer in model.layers
    )


def _unwrap(inputs: Arrays) -> Any:
    # Keras warns where a list of one array meets a model with one input.
    return inputs[0] if len(inputs) == 1 else inputs
