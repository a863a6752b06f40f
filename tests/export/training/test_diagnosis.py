"""The diagnosis: one finding a run, from its own evidence, with remedies."""

from __future__ import annotations

import math
import re
from typing import Any, get_args

import click
import pytest

from export.recipes.catalogue import POOLED, RECIPES, Recipe
from export.recipes.remedies import Kind, remedies
from export.training.checkpoints import Epoch
from export.training.diagnosis import Diagnosis, diagnose
from kennel.commands.train import read_recipe, recipe_options

Figures = tuple[float, float, float, float]
TWO_STAGES = RECIPES["conv-block5"]


def history(figures: list[Figures], member: int = 1, stage: int = 1) -> list[Epoch]:
    """Epochs of (loss, accuracy, validation loss, validation accuracy)."""
    return [
        Epoch(member, stage, number, 1e-3, *each)
        for number, each in enumerate(figures, start=1)
    ]


def metrics(accuracy: float = 0.89, images: int = 1000) -> dict[str, Any]:
    """Two labels with as many photos each."""
    half = images // 2
    right = round(accuracy * half)
    wrong = half - right
    return {"confusion_matrix": [[right, wrong], [wrong, right]], "images": 2 * half}


def found(
    figures: list[Figures],
    accuracy: float = 0.89,
    images: int = 1000,
    temperature: float = 1.1,
    recipe: Recipe = POOLED,
) -> Diagnosis:
    return diagnose(history(figures), metrics(accuracy, images), temperature, recipe)


def falling(start: float, end: float, count: int = 12) -> list[float]:
    """Exponentially, so that the last steps are the smallest."""
    return [end + (start - end) * 0.6**number for number in range(count)]


def curves(
    loss: list[float], val: list[float], accuracy: float, val_accuracy: float
) -> list[Figures]:
    """Accuracies rise from guessing to the last ones as the losses fall."""
    share = [1 - 0.6 ** (number + 1) for number in range(len(loss))]
    return [
        (a, 0.5 + (accuracy - 0.5) * s, b, 0.5 + (val_accuracy - 0.5) * s)
        for a, b, s in zip(loss, val, share, strict=True)
    ]


SOUND = curves(falling(0.65, 0.25), falling(0.6, 0.29), 0.91, 0.89)
NOISY = [0.5, 0.42, 0.47, 0.36, 0.45, 0.34, 0.43, 0.35, 0.41, 0.38, 0.44, 0.37]
ZIGZAG = [1.9, 0.6, 1.4, 0.5, 1.6, 0.7, 1.2, 0.4, 1.5, 0.6, 1.3, 0.5]
GUESSES = [(0.694, 0.50, 0.693, 0.51), (0.693, 0.51, 0.693, 0.49)] * 6
RISING = [*falling(0.5, 0.33, 5), 0.36, 0.40, 0.45, 0.50, 0.56, 0.61, 0.66]

HISTORIES = {
    "well fit": ("well fit", SOUND, 0.89, 1000),
    "overfit": ("overfit", curves(falling(0.6, 0.02), RISING, 0.99, 0.86), 0.86, 1000),
    "underfit": (
        "underfit",
        curves(falling(0.68, 0.6), falling(0.67, 0.6), 0.68, 0.67),
        0.67,
        1000,
    ),
    "diverged": (
        "diverged",
        curves([0.6, 0.5, 1.9, 7.0], [0.6, 0.55, 2, 9], 0.6, 0.6),
        0.7,
        1000,
    ),
    "not a number": ("diverged", [*SOUND[:3], (math.nan, 0.5, math.nan, 0.5)], 0.8, 9),
    "still falling": (
        "not converged",
        [(0.7 - n * 0.04, 0.6, 0.71 - n * 0.04, 0.62) for n in range(10)],
        0.8,
        1000,
    ),
    "noisy, few photos": (
        "well fit",
        curves(falling(0.6, 0.3), NOISY, 0.9, 0.88),
        0.85,
        40,
    ),
    "perfect": (
        "well fit",
        curves(falling(0.4, 0.02), [*falling(0.02, 1e-6, 11), 4e-4], 0.9, 1),
        1.0,
        1000,
    ),
    "guessing": ("no better than guessing", GUESSES, 0.5, 1000),
    "zigzag": ("unstable", curves(ZIGZAG, ZIGZAG, 0.8, 0.8), 0.8, 1000),
    "too few": ("too few photos", curves(falling(0.6, 0.1), NOISY, 1, 0.8), 0.8, 10),
}


@pytest.mark.parametrize("case", HISTORIES)
def test_each_history_has_its_one_finding(case: str) -> None:
    kind, figures, accuracy, images = HISTORIES[case]

    assert found(figures, accuracy, images).kind == kind


def test_rise_that_nobody_sees_is_not_overfit() -> None:
    # 0.000 to 0.000, and 0.300 to 0.305.
    for best in (1e-5, 0.3):
        figures = [(0.2, 0.93, best, 0.9), (0.1, 0.96, best * 1.06, 0.9)]

        assert found(figures, 0.9).kind == "well fit"


def test_training_far_below_perfect_validation_is_dropout_at_work() -> None:
    assert found([(0.2, 0.93, 0.004, 1.0)], 1.0).kind == "well fit"
    assert found([(0.6, 0.80, 0.3, 0.90)], 0.9).evidence.endswith(
        "training accuracy 0.800, validation accuracy 0.900: "
        "too much dropout or augmentation"
    )


def test_rising_validation_loss_is_overfit_and_says_what_was_kept() -> None:
    diagnosis = found([*SOUND, (0.1, 0.97, 0.40, 0.88)])

    assert diagnosis.kind == "overfit"
    assert "validation loss rose from 0.291 to 0.400" in diagnosis.evidence
    assert "the best epoch's weights were kept" in diagnosis.evidence
    assert diagnosis.remedies[0] == "more photos"
    assert diagnosis.remedies[1] == "augmentation: --augmentation photos --passes 5"


def test_folds_are_judged_together() -> None:
    rising = [*SOUND, (0.1, 0.97, 0.40, 0.88)]
    one = [epoch for n in range(1, 6) for epoch in history(SOUND, member=n + 1)]
    one[-len(SOUND) :] = history(rising, member=6)
    all_of_them = [epoch for n in range(5) for epoch in history(rising, member=n + 2)]

    assert diagnose(one, metrics(), 1.1, POOLED).kind == "well fit"
    assert diagnose(all_of_them, metrics(), 1.1, POOLED).kind == "overfit"


def test_stages_that_were_not_kept_do_not_count_unless_they_diverge() -> None:
    rising = [*SOUND, (0.1, 0.97, 0.40, 0.88)]
    blown_up = curves([0.3, 2.0, 9.0], [0.5, 3, 12], 0.6, 0.6)

    def kind(first: list[Figures], second: list[Figures]) -> str:
        epochs = history(first) + history(second, stage=2)
        return diagnose(epochs, metrics(), 1.1, TWO_STAGES).kind

    assert kind(rising, SOUND) == "well fit"
    assert kind(SOUND, blown_up) == "diverged"


def test_remedy_is_for_the_stage_at_fault() -> None:
    blown_up = curves([0.3, 2.0, 9.0], [0.5, 3, 12], 0.6, 0.6)
    epochs = history(SOUND) + history(blown_up, stage=2)

    diagnosis = diagnose(epochs, metrics(), 1.1, TWO_STAGES)

    assert "in the first epoch of stage 2" in diagnosis.evidence
    assert "--learning-rate 0.001,2e-05" in diagnosis.remedies[0]


def test_steps_of_an_exact_solution_end_with_the_best() -> None:
    # It looks as if it was still falling, but the next steps were worse.
    path = [(0.5 - n * 0.05, 0.8, 0.5 - n * 0.05, 0.8) for n in range(3)]
    recipe = RECIPES["second-order"]

    assert found(path, 0.85, recipe=recipe).kind == "well fit"
    assert found([*path, (0.3, 0.85, 0.3, 0.85)], recipe=recipe).kind == "not converged"


@pytest.mark.parametrize(
    ("temperature", "kind"), [(1.3, "well fit"), (2, "overconfident")]
)
def test_high_temperature_is_overconfidence(temperature: float, kind: str) -> None:
    assert found(SOUND, temperature=temperature).kind == kind
    assert diagnose([], metrics(), temperature, POOLED).kind == kind


def test_one_label_for_everything_is_a_collapse() -> None:
    counts = {"confusion_matrix": [[100, 0], [100, 0]], "images": 200}

    diagnosis = diagnose(history([(0.9, 0.5, 0.9, 0.5)]), counts, 1.0, POOLED)

    assert diagnosis.kind == "collapsed"
    assert "only 1 of 2 labels" in diagnosis.evidence
    assert diagnosis.remedies[0] == "a smaller learning rate: --learning-rate 0.0001"


KINDS: tuple[Kind, ...] = get_args(Kind)
USED = (
    "--augmentation statefarm --dropout 0.8 --label-smoothing 0.05 --members 5 "
    "--folds 5 --schedule cosine"
)


def trained(name: str, options: str) -> Recipe:
    """The recipe that ``kennel train --recipe name`` makes of these options."""
    command = recipe_options(click.command()(lambda **values: values))
    return read_recipe(name, command(options.split(), standalone_mode=False))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("used", ["", USED], ids=["as it is", "with options"])
def test_remedies_exist_and_differ_from_what_was_done(name: str, used: str) -> None:
    if name == "second-order":
        used = "--folds 3"
    if name == "imagenet-linear":  # whose head has no dropout
        used = used.replace("--dropout 0.8", "")
    recipe = trained(name, used)
    for kind in KINDS:
        for remedy in remedies(kind, recipe, stage=len(recipe.stages)):
            words, _, options = remedy.partition(": --")
            if options.startswith("recipe "):
                assert trained(options.removeprefix("recipe "), "") != recipe
            elif options:
                assert trained(name, f"{used} --{options}") != recipe, words


def test_second_order_is_not_told_to_change_a_learning_rate() -> None:
    recipe = RECIPES["second-order"]

    for kind in KINDS:
        told = " ".join(remedies(kind, recipe, stage=1))
        assert not re.search("--(learning-rate|dropout|schedule|members)", told)


def test_lenet_is_told_of_its_own_recipes() -> None:
    told = " ".join(r for k in KINDS for r in remedies(k, RECIPES["lenet5"], stage=1))

    assert "--recipe scratch" in told
    assert "conv-block5" not in told
    assert "--augmentation mnist" in told
