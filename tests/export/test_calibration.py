"""Temperature and clip bound: fitted, and never worse than they promise."""

from __future__ import annotations

import numpy as np
import pytest

from export.evaluation.calibration import calibrate, choose_clip_bound, fit_temperature
from models.probabilities import clip, log_loss, softmax

GENERATOR = np.random.default_rng(5)


def overconfident(count: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose calibrated values were multiplied by *factor*, and classes."""
    logits = GENERATOR.normal(0, 1.5, (count, 3))
    classes = np.array([GENERATOR.choice(3, p=row) for row in softmax(logits)])
    return logits * factor, classes


def test_temperature_finds_the_factor_of_overconfidence() -> None:
    logits, classes = overconfident(6000, factor=3)

    assert fit_temperature(logits, classes) == pytest.approx(3, rel=0.1)


def test_calibration_lowers_log_loss() -> None:
    logits, classes = overconfident(2000, factor=4)

    found = calibrate(logits, classes)

    assert log_loss(softmax(logits, found.temperature), classes) < log_loss(
        softmax(logits), classes
    )


def test_saturated_rows_are_clipped_near_their_accuracy() -> None:
    # Everything at 0 or 1: the best bound is the accuracy (fast.ai forum, thread 1035).
    classes = np.zeros(1000, np.int64)
    rows = np.tile([1.0, 0.0], (1000, 1))
    rows[:50] = [0.0, 1.0]

    bound, choice = choose_clip_bound(rows, classes)

    assert bound == pytest.approx(0.95, abs=0.01)
    assert "1000 validation photos" in choice


def test_perfect_rows_are_still_bounded() -> None:
    # 200 photos without a mistake do not prove that there never is one.
    classes = np.zeros(200, np.int64)
    rows = np.tile([1.0, 0.0], (200, 1))

    bound, _ = choose_clip_bound(rows, classes)

    assert bound is not None
    assert 0.97 < bound < 1
    assert log_loss(clip(rows, bound), classes, normalise=False) < 0.03
