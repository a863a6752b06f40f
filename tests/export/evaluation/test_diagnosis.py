"""Each fault of a training run is seen by its own sign."""

from __future__ import annotations

from typing import Any

import pytest

from export.evaluation.diagnosis import diagnose
from export.stages.history import Epoch

Figures = tuple[float, float, float, float]

SOUND: list[Figures] = [
    (0.6, 0.70, 0.5, 0.75),
    (0.4, 0.85, 0.35, 0.86),
    (0.3, 0.90, 0.30, 0.89),
]


def history(figures: list[Figures], member: int = 1, stage: int = 1) -> list[Epoch]:
    """Epochs of (loss, accuracy, validation loss, validation accuracy)."""
    return [
        Epoch(member, stage, number, 1e-3, *each)
        for number, each in enumerate(figures, start=1)
    ]


def metrics(matrix: list[list[int]] | None = None) -> dict[str, Any]:
    matrix = matrix or [[450, 50], [60, 440]]
    return {"confusion_matrix": matrix, "images": sum(map(sum, matrix))}


def kinds(
    epochs: list[Epoch], matrix: list[list[int]] | None = None, temperature: float = 1.1
) -> list[str]:
    return [each.kind for each in diagnose(epochs, metrics(matrix), temperature)]


def test_sound_run_has_no_diagnosis() -> None:
    assert kinds(history(SOUND)) == []


def test_training_below_validation_is_too_much_dropout() -> None:
    epochs = history([(0.6, 0.80, 0.3, 0.90)])

    found = diagnose(epochs, metrics(), 1.0)

    assert [each.kind for each in found] == ["underfit"]
    assert "training accuracy 0.800, validation accuracy 0.900" in found[0].evidence
    assert "--dropout" in found[0].cures[0]


def test_both_low_is_underfit() -> None:
    assert kinds(history([(0.65, 0.62, 0.66, 0.61)])) == ["underfit"]


def test_small_validation_set_is_too_noisy_to_call_underfit() -> None:
    epochs = history([(0.4, 0.84, 0.3, 0.90)])

    assert kinds(epochs, matrix=[[18, 2], [2, 18]]) == []


def test_rising_validation_loss_is_overfit_and_cures_are_in_order() -> None:
    epochs = history([*SOUND, (0.1, 0.97, 0.36, 0.88)])

    found = diagnose(epochs, metrics(), 1.0)

    assert [each.kind for each in found] == ["overfit"]
    assert "after epoch 3 of 4 validation loss rose from 0.300" in found[0].evidence
    assert found[0].cures[0] == "more photos"
    assert "--augmentation" in found[0].cures[1]


def test_gap_between_training_and_validation_is_overfit() -> None:
    assert kinds(history([(0.05, 0.99, 0.4, 0.85)])) == ["overfit"]


def test_only_the_last_stage_of_each_member_counts() -> None:
    rising = [*SOUND, (0.1, 0.97, 0.36, 0.88)]
    first = history(rising) + history(SOUND, stage=2)

    assert kinds(first + history(SOUND, member=2)) == []
    assert kinds(first + history(rising, member=2)) == ["overfit"]


@pytest.mark.parametrize(("temperature", "found"), [(1.3, []), (2, ["overconfident"])])
def test_high_temperature_is_overconfidence(temperature: float, found: Any) -> None:
    assert kinds(history(SOUND), temperature=temperature) == found


def test_one_label_for_everything_is_a_collapse() -> None:
    matrix = [[100, 0], [100, 0]]

    found = diagnose(history([(0.9, 0.5, 0.9, 0.5)]), metrics(matrix), 1.0)

    assert [each.kind for each in found] == ["collapsed"]
    assert "only 1 of 2 labels" in found[0].evidence
    assert "--learning-rate" in found[0].cures[0]


def test_run_without_history_is_still_judged() -> None:
    assert kinds([], temperature=2.0) == ["overconfident"]
