"""Metrics against small cases computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from export.evaluation.calibration import Calibration, calibrate
from export.evaluation.metrics import (
    ClassMetrics,
    evaluate_logits,
    expected_calibration_error,
    expected_score,
    per_class,
    reliability_bins,
)
from models.probabilities import clip, log_loss, softmax
from tests.export.evaluation.logits import Logits, saturated, simulated

ROWS = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.3, 0.7, 0], [0.2, 0.8, 0]])
CLASSES = np.array([0, 1, 1, 1])


def test_precision_recall_and_f1_are_counted() -> None:
    cat, dog, fox = per_class(ROWS, CLASSES, ["cat", "dog", "fox"])

    assert (cat.precision, cat.recall, cat.support) == (0.5, 1, 1)
    assert (dog.precision, dog.support) == (1, 3)
    assert [cat.recall, dog.recall] == pytest.approx([1, 2 / 3])
    assert [cat.f1, dog.f1] == pytest.approx([2 / 3, 0.8])
    assert fox == ClassMetrics("fox", 0.0, 0.0, 0.0, 0)


def test_bins_hold_rows_by_their_top_probability() -> None:
    bins = reliability_bins(ROWS, CLASSES, bins=10)

    assert [each.count for each in bins] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]
    assert [bins[5].lower, bins[5].upper] == pytest.approx([0.5, 0.6])
    assert bins[5].accuracy == 0
    assert bins[8].confidence == pytest.approx(0.9)
    assert bins[8].accuracy == 1


def test_calibration_error_is_the_mean_gap() -> None:
    gaps = [0.1, 0.6, 0.3, 0.2]

    found = expected_calibration_error(ROWS, CLASSES, bins=10)

    assert found == pytest.approx(np.mean(gaps))


def test_calibration_error_falls_with_the_right_temperature() -> None:
    logits, classes = simulated(4000, labels=3, spread=2, factor=3)

    figures = evaluate_logits(logits, classes, calibrate(logits, classes))

    assert figures["calibration_error_raw"] > 0.1
    assert figures["calibration_error_calibrated"] < 0.03
    assert figures["log_loss_calibrated"] < figures["log_loss_raw"]


def test_figures_are_json_and_complete() -> None:
    logits, classes = simulated(60, labels=4)
    calibration = Calibration(1.5, 0.9, "by hand")

    figures = evaluate_logits(logits, classes, calibration, ["a", "b", "c", "d"])

    calibrated = softmax(logits, 1.5)
    assert json.loads(json.dumps(figures)) == figures
    assert [each["label"] for each in figures["per_class"]] == ["a", "b", "c", "d"]
    assert sum(each["support"] for each in figures["per_class"]) == 60
    assert figures["log_loss_clipped"] == log_loss(clip(calibrated, 0.9), classes)
    assert figures["log_loss_fixed"] == log_loss(clip(calibrated, 0.95), classes)


def test_macro_f1_leaves_out_classes_without_photos() -> None:
    figures = evaluate_logits(
        np.log(ROWS + 1e-9), CLASSES, Calibration(1.0, None, "by hand")
    )

    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)


def test_interval_holds_most_scores_of_new_photos() -> None:
    inside = 0
    for seed in range(0, 80, 2):
        logits, classes = simulated(300, spread=3, seed=seed)
        new_logits, new_classes = simulated(300, spread=3, seed=seed + 1)
        interval = expected_score(softmax(logits), classes, 0.99, samples=200)
        score = log_loss(clip(softmax(new_logits), 0.99), new_classes)
        inside += interval.low <= score <= interval.high

    assert 32 <= inside <= 40


@pytest.mark.parametrize(
    ("count", "spread", "wrong"), [(20, 4.0, 0.03), (50, 10.0, 0.0), (50, 30.0, 0.03)]
)
def test_interval_of_few_photos_holds_most_scores_too(
    count: int, spread: float, wrong: float
) -> None:
    # What `kennel train` does: temperature and bound come from the same few photos.
    generator = np.random.default_rng(1)

    def photos(seed: int) -> Logits:
        logits, classes = simulated(count, spread=spread, seed=seed)
        return logits, np.where(generator.random(count) < wrong, 1 - classes, classes)

    inside = 0
    for seed in range(0, 80, 2):
        logits, classes = photos(seed)
        found = calibrate(logits, classes)
        rows = softmax(logits, found.temperature)
        interval = expected_score(rows, classes, found.clip_bound, samples=200)
        new_logits, new_classes = photos(seed + 1)
        new = clip(softmax(new_logits, found.temperature), found.clip_bound)
        inside += interval.low <= log_loss(new, new_classes) <= interval.high

    assert 33 <= inside <= 40


def test_interval_reckons_with_a_mistake_not_seen() -> None:
    logits, classes = saturated(right=50, wrong=0)

    interval = expected_score(softmax(logits), classes, 0.99)

    seen = -np.log(0.99)
    assert interval.low == pytest.approx(seen)
    assert interval.mean == pytest.approx(seen + 0.1 * -np.log(0.01) / 50, rel=0.01)
    assert interval.high > 5 * seen


def test_interval_is_the_same_for_the_same_seed() -> None:
    logits, classes = simulated(40)

    first = expected_score(softmax(logits), classes, None, seed=3)

    assert first == expected_score(softmax(logits), classes, None, seed=3)
    assert first != expected_score(softmax(logits), classes, None, seed=4)
