"""Clipping and log loss against the figures of the course and of Kaggle's pages."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.errors import InvalidRequestError
from models.probabilities import accuracy, clip, log_loss, parse_clip, softmax


@pytest.mark.parametrize(
    ("classes", "bound", "floor"),
    [(2, 0.95, 0.05), (10, 0.93, 0.0077778), (8, 0.82, 0.0257143)],
)
def test_clip_floors_of_the_course(classes: int, bound: float, floor: float) -> None:
    row = np.zeros((1, classes))
    row[0, 0] = 1

    clipped = clip(row, bound)

    assert clipped[0, 0] == bound
    assert clipped[0, 1:] == pytest.approx(floor, abs=1e-6)


def test_no_bound_changes_nothing() -> None:
    row = np.array([[0.999, 0.001]])

    assert clip(row, None) is row


@pytest.mark.parametrize(
    ("accuracy_", "bound", "loss"),
    [(0.9825, 0.95, 0.1028), (0.9825, 0.9825, 0.0881), (0.9895, 0.95, 0.0822)],
)
def test_loss_of_saturated_rows_is_the_forums_first_score(
    accuracy_: float, bound: float, loss: float
) -> None:
    wrong = round(10_000 * (1 - accuracy_))
    rows = np.tile([1.0, 0.0], (10_000, 1))
    rows[:wrong] = [0.0, 1.0]

    found = log_loss(clip(rows, bound), np.zeros(10_000, np.int64))

    assert found == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("bound", [0.5, 0.2, 1.01, math.nan, math.inf, -1])
def test_impossible_bound_is_refused(bound: float) -> None:
    with pytest.raises(InvalidRequestError, match=r"above 0\.5"):
        clip(np.array([[0.5, 0.5]]), bound)


def test_clip_is_read_as_number_off_or_default() -> None:
    assert parse_clip(None, 0.9) == 0.9
    assert parse_clip("off", 0.9) is None
    assert parse_clip("0.97", 0.9) == 0.97
    for wrong in ("on", "", "0,95"):
        with pytest.raises(InvalidRequestError, match="'off'"):
            parse_clip(wrong, 0.9)


def test_softmax_survives_large_logits_and_follows_the_temperature() -> None:
    assert softmax(np.array([[1000.0, 0.0]]))[0] == pytest.approx([1, 0])
    assert softmax(np.array([[2.0, 0.0]]), 2)[0] == pytest.approx(
        [math.e / (1 + math.e), 1 / (1 + math.e)]
    )


def test_accuracy_counts_the_largest() -> None:
    rows = np.array([[0.6, 0.4], [0.3, 0.7]])

    assert accuracy(rows, np.array([0, 0])) == 0.5
