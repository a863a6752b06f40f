"""Temperature and clip bound: fitted, and no worse than their bounds."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from export.evaluation.calibration import (
    FOLDS,
    Calibration,
    calibrate,
    choose_clip_bound,
    fit_temperature,
    hold_out,
    stratified_folds,
)
from models.errors import DatasetError
from models.probabilities import accuracy, clip, log_loss, softmax
from tests.export.evaluation.logits import Logits, saturated, simulated

MODELS = [(labels, spread) for labels in (2, 10) for spread in (2.0, 20.0)]


def test_temperature_finds_the_factor_of_overconfidence() -> None:
    logits, classes = simulated(6000, labels=3, spread=1.5, factor=3)

    assert fit_temperature(logits, classes) == pytest.approx(3, rel=0.1)


def test_temperature_without_photos_is_one() -> None:
    assert fit_temperature(np.empty((0, 2)), np.empty(0, np.int64)) == 1


def test_few_right_photos_do_not_make_a_model_surer() -> None:
    logits, classes = np.tile([3.0, 0.0], (10, 1)), np.zeros(10, np.int64)

    assert 0.9 < fit_temperature(logits, classes) <= 1


def without_mistake(count: int, spread: float, seed: int) -> Logits:
    """Validation photos of a calibrated model which happen to be all right."""
    logits, classes = simulated(40 * count, spread=spread, seed=seed)
    right = np.flatnonzero(logits.argmax(axis=1) == classes)[:count]
    return logits[right], classes[right]


@pytest.mark.parametrize(("count", "spread"), [(20, 10.0), (67, 10.0), (67, 30.0)])
def test_photos_without_a_mistake_do_not_make_it_overconfident(
    count: int, spread: float
) -> None:
    new_logits, new_classes = simulated(4000, spread=spread, seed=99)
    raw = log_loss(softmax(new_logits), new_classes)

    fitted = [fit_temperature(*without_mistake(count, spread, n)) for n in range(10)]

    losses = [log_loss(softmax(new_logits, each), new_classes) for each in fitted]
    assert np.mean(losses) < raw + 0.01


def test_67_right_photos_prove_little() -> None:
    # They claimed 93.4 % on average, and 8 % of the new photos are mistaken.
    logits = np.tile([2.65, 0.0], (67, 1))
    new_classes = np.repeat([0, 1], [920, 80])

    temperature = fit_temperature(logits, np.zeros(67, np.int64))

    new = softmax(np.tile([2.65, 0.0], (1000, 1)), temperature)
    assert temperature > 0.7
    assert log_loss(new, new_classes) < 0.32


@pytest.mark.parametrize("wrong", [0.0, 0.03])
@pytest.mark.parametrize("factor", [0.5, 1, 3])
@pytest.mark.parametrize(("labels", "spread"), [(2, 3.0), (2, 20.0), (10, 2.0)])
@pytest.mark.parametrize("count", [10, 30, 100])
def test_temperature_of_few_photos_costs_new_ones_little(
    count: int, labels: int, spread: float, factor: float, wrong: float
) -> None:
    generator = np.random.default_rng(0)

    def photos(number: int, seed: int) -> Logits:
        logits, classes = simulated(number, labels, spread, factor, seed)
        classes[generator.random(number) < wrong] = 0
        return logits, classes

    new_logits, new_classes = photos(4000, seed=99)
    raw = log_loss(softmax(new_logits), new_classes)
    losses = [
        log_loss(
            softmax(new_logits, fit_temperature(*photos(count, seed))), new_classes
        )
        for seed in range(20)
    ]

    assert np.mean(losses) < raw + 0.5 / count


def test_unseen_mistakes_matter_little_once_mistakes_were_seen() -> None:
    logits, classes = simulated(5000, spread=5, factor=3)
    candidates = np.geomspace(1, 9, 400)

    losses = [log_loss(softmax(logits, each), classes) for each in candidates]

    most_likely = candidates[int(np.argmin(losses))]
    assert fit_temperature(logits, classes) == pytest.approx(most_likely, rel=0.015)


def test_huge_logits_do_not_overflow() -> None:
    logits, classes = saturated(right=90, wrong=10)

    assert fit_temperature(logits * 1e300, classes) == pytest.approx(20)


def test_broken_logits_are_counted() -> None:
    logits, classes = simulated(20)
    logits[3, 0], logits[7, 1] = np.nan, np.inf

    with pytest.raises(DatasetError, match="2 of 20 validation photos have NaN"):
        calibrate(logits, classes)
    with pytest.raises(DatasetError, match="no validation photos"):
        calibrate(logits[:0], classes[:0])


def test_saturated_rows_are_clipped_near_their_accuracy() -> None:
    # Everything at 0 or 1: the best bound is the accuracy (fast.ai forum, thread 1035).
    logits, classes = saturated(right=950, wrong=50)

    bound = choose_clip_bound(softmax(logits), classes)

    assert bound == pytest.approx(0.95, abs=0.01)


def test_rows_without_a_mistake_are_still_bounded() -> None:
    # 200 photos without a mistake do not prove that there never is one.
    logits, classes = saturated(right=200, wrong=0)

    bound = choose_clip_bound(softmax(logits), classes)

    assert 0.99 < bound < 0.9999


@pytest.mark.parametrize(("labels", "spread"), MODELS)
@pytest.mark.parametrize("factor", [0.5, 1, 3])
@pytest.mark.parametrize("count", [10, 100, 1000])
def test_new_photos_lose_no_more_than_raw_ones(
    labels: int, spread: float, factor: float, count: int
) -> None:
    logits, classes = simulated(count, labels, spread, factor)
    new_logits, new_classes = simulated(2000, labels, spread, factor, seed=1)
    chosen = calibrate(logits, classes)

    calibrated = softmax(new_logits, chosen.temperature)
    loss = log_loss(clip(calibrated, chosen.clip_bound), new_classes)

    raw = -np.log(softmax(new_logits)[np.arange(2000), new_classes])
    assert loss <= raw.mean() + 2 * raw.std() / count**0.5
    if accuracy(calibrated, new_classes) > 0.97 and count >= 100:
        assert loss < log_loss(clip(calibrated, 0.95), new_classes)


def test_gains_are_those_of_the_sentence() -> None:
    logits, classes = simulated(1000, spread=20, factor=3)

    found = calibrate(logits, classes)

    assert "5-fold cross-validation on 1000 validation photos" in found.clip_choice
    assert found.gain_over_fixed is not None
    assert found.gain_over_fixed > 0.02
    words = found.clip_choice.replace(",", "").split()
    losses = {name: float(words[words.index(name) - 1]) for name in ("clipped", "at")}
    assert losses["at"] - losses["clipped"] == pytest.approx(
        found.gain_over_fixed, abs=1e-4
    )


def test_bound_limits_what_wrong_labels_cost() -> None:
    logits, classes = simulated(1000, spread=20)
    classes[:10] = 1 - classes[:10]

    found = calibrate(logits, classes)

    assert found.gain_over_unclipped is not None
    assert found.gain_over_unclipped > 0.01


@pytest.mark.parametrize("classes", [[0], [0, 1], [0, 0, 0, 1], [2, 0, 1, 0, 0, 1, 1]])
def test_tiny_validation_sets_are_calibrated(classes: list[int]) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (len(classes), 3))

    found = calibrate(logits, np.array(classes))

    assert 0.3 < found.temperature < 3
    assert found.clip_bound is not None
    assert 1 / 3 < found.clip_bound < 1


def test_calibration_survives_a_file() -> None:
    found = calibrate(*simulated(50))
    older = {"temperature": 1.2, "clip_bound": 0.98, "clip_choice": "by hand"}

    assert Calibration(**json.loads(json.dumps(asdict(found)))) == found
    assert Calibration(**json.loads(json.dumps(older))).gain_over_fixed is None


def test_folds_share_every_class_evenly() -> None:
    classes = np.repeat([0, 1, 2], [50, 26, 1])

    folds = stratified_folds(classes)

    counts = [np.bincount(folds[classes == each], minlength=FOLDS) for each in (0, 1)]
    assert counts[0].tolist() == [10] * 5
    assert sorted(counts[1]) == [5, 5, 5, 5, 6]
    assert np.array_equal(folds, stratified_folds(classes))


def test_no_photo_is_fitted_on_itself() -> None:
    classes = np.array([0, 1] * 6)
    seen = hold_out(classes, lambda rest, held: np.tile(rest, (held.sum(), 1)))

    assert not seen[np.eye(12, dtype=bool)].any()
    assert (seen.sum(axis=1) >= 9).all()
