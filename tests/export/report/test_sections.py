"""What the sections say, against figures worked out by hand."""

from __future__ import annotations

import dataclasses
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from export.evaluation.metrics import ScoreInterval
from export.report.content import ReportContent, ReportedPhotos, ReportedStage
from export.report.sections.card import card_section
from export.report.sections.clipping import clipping_section
from export.report.sections.confusion import confusion_section
from export.report.sections.diagnosis import diagnosis_section
from export.report.sections.headline import headline_section, wilson_interval
from export.report.sections.photos import photos_section
from export.report.sections.reliability import reliability_section
from export.report.sections.training_curves import training_curves_section
from export.report.sections.training_data import training_data_section
from models.probabilities import log_loss, softmax
from tests.export.report.reports import full_content, some_epochs, some_photos


def content_of(rows: list[list[float]], classes: list[int]) -> ReportContent:
    labels = ["cat", "dog", "owl"][: len(rows[0])]
    files = [Path(f"{number}.jpg") for number in range(len(rows))]
    photos = ReportedPhotos(labels, files, np.array(classes), np.array(rows))
    return ReportContent("pets", photos)


def words(markup: str) -> str:
    plain = unescape(re.sub("<[^>]+>", " ", markup)).replace("\N{NO-BREAK SPACE}", " ")
    return " ".join(plain.split())


def test_probabilities_before_the_temperature_are_found_again() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3)) * 8
    classes = np.zeros(20, np.int64)
    photos = ReportedPhotos("abc", [], classes, softmax(logits, 2.5), temperature=2.5)

    raw = photos.uncalibrated()

    assert raw == pytest.approx(softmax(logits), abs=1e-12)


def test_headline_names_all_log_losses(tmp_path: Path) -> None:
    content = full_content(tmp_path)
    raw = content.photos.uncalibrated()

    shown = words(headline_section(content))

    assert raw is not None
    assert f"Log loss, raw {log_loss(raw, content.photos.classes):.4f}" in shown
    assert "divided by temperature 1.300" in shown
    assert "at most 0.97" in shown
    assert "Expected Kaggle score 0.4000 90 % interval 0.3000 to 0.5000" in shown
    assert "score of the CSV 0.1234" in shown


def test_headline_without_calibration_says_what_it_knows() -> None:
    shown = words(headline_section(content_of([[0.5, 0.5]], [0])))

    assert "Log loss, calibrated 0.6931 as served" in shown
    assert "raw" not in shown
    assert "clipped" not in shown


def test_wilson_interval_is_the_textbook_one() -> None:
    assert wilson_interval(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert wilson_interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_counts_are_summed_over_parts_and_labels(tmp_path: Path) -> None:
    shown = words(training_data_section(full_content(tmp_path)))

    assert "cat 1,200 3 1,203 99.3 %" in shown
    assert "all 1,208 3 1,211 100 %" in shown


def test_best_epoch_of_every_stage_is_ringed(tmp_path: Path) -> None:
    markup = training_curves_section(full_content(tmp_path))

    chart = markup.split('aria-label="Loss')[1].split("</svg>")[0]
    assert chart.count('class="mark three"') == 2
    assert "Best epoch of the last stage: 5, validation 0.4000" in chart
    assert "stage 2" in chart
    assert "Member" not in markup


def test_members_have_charts_of_their_own(tmp_path: Path) -> None:
    content = dataclasses.replace(full_content(tmp_path), epochs=some_epochs(members=3))

    markup = training_curves_section(content)

    assert "Member 3 of 3" in markup
    assert markup.count("<polyline") == 3 * 2 * 2


def test_stages_say_what_they_trained_and_kept(tmp_path: Path) -> None:
    stages = (
        ReportedStage(1, "", "head", 4352, "adamw", 30, 22, "--patience 8: no better"),
        ReportedStage(2, "", "conv:block5", 7_080_000, "adamw", 4, 0, "--patience 4"),
    )
    content = dataclasses.replace(full_content(tmp_path), stages=stages)

    shown = words(training_curves_section(content))

    assert "1 head 4,352 30 epoch 22 --patience 8" in shown
    assert "2 conv:block5 7,080,000 4 nothing: no epoch was better" in shown


def test_models_of_folds_go_by_their_names_and_strengths(tmp_path: Path) -> None:
    names = {number: f"fold {number - 1} of 2" for number in (2, 3)}
    stage = ReportedStage(1, "fold 1 of 2", "head", 9, "exact", 3, 3, "--epochs 3")
    epochs = [each for each in some_epochs(members=3) if each.member > 1]
    content = dataclasses.replace(
        full_content(tmp_path), epochs=tuple(epochs), models=names, stages=(stage,)
    )

    shown = words(training_curves_section(content))

    assert "Fold 2 of 2" in shown
    assert "Member" not in shown
    assert "regularisation loss" in shown


def test_photos_of_folds_are_counted_once(tmp_path: Path) -> None:
    counts = {"cross-validated": {"cat": 34, "dog": 33}}
    content = dataclasses.replace(full_content(tmp_path), counts=counts)

    shown = words(training_data_section(content))

    assert "label cross-validated share cat 34 50.7 % dog 33 49.3 % all 67" in shown


def test_training_that_diverged_still_draws(tmp_path: Path) -> None:
    bad = [dataclasses.replace(each, loss=float("nan")) for each in some_epochs()]
    content = dataclasses.replace(full_content(tmp_path), epochs=tuple(bad))

    markup = training_curves_section(content)

    assert not re.search(r'points="[^"]*nan', markup)


def test_confusion_has_counts_and_shares_of_rows() -> None:
    rows = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]

    shown = words(confusion_section(content_of(rows, [0, 0, 0, 1])))

    assert "cat 66.7 % 2 33.3 % 1 3 dog 100.0 % 1 · 1" in shown


def test_confusions_of_many_labels_are_ranked() -> None:
    rows = [[0.1, 0.1, 0.8]] * 3 + [[0.1, 0.8, 0.1]]

    shown = words(confusion_section(content_of(rows, [0, 0, 1, 0])))

    assert "cat called owl 2 66.7 % cat called dog 1 33.3 % dog called owl" in shown


def test_label_without_photos_has_no_share() -> None:
    shown = words(confusion_section(content_of([[0.9, 0.1]], [0])))

    assert "dog · · 0" in shown


def test_reliability_is_shown_before_and_after(tmp_path: Path) -> None:
    content = ReportContent("pets", some_photos(tmp_path))

    markup = reliability_section(content)

    assert "Before calibration: ECE" in markup
    assert "After calibration, temperature 1.300: ECE" in markup


def test_reliability_without_temperature_is_shown_once() -> None:
    rows = [[0.9, 0.1]] * 9 + [[0.1, 0.9]]

    markup = reliability_section(content_of(rows, [0] * 10))

    assert "As served: ECE 0.0\N{NO-BREAK SPACE}%" in markup
    assert markup.count("<svg class=") == 2


def test_clip_chart_marks_chosen_bound_095_and_none(tmp_path: Path) -> None:
    shown = words(clipping_section(ReportContent("pets", some_photos(tmp_path))))

    assert "chosen bound 0.97: " in shown
    assert "the course's bound 0.95: " in shown
    assert "no clipping: " in shown
    assert "least here" in shown


@pytest.mark.parametrize("bound", [None, 0.55, 0.999999, 1.0])
def test_clip_chart_takes_every_bound(tmp_path: Path, bound: float | None) -> None:
    photos = dataclasses.replace(some_photos(tmp_path), clip_bound=bound)

    assert "<polyline" in clipping_section(ReportContent("pets", photos))


def test_galleries_say_what_is_called_what(tmp_path: Path) -> None:
    markup = photos_section(ReportContent("pets", some_photos(tmp_path)))

    for title in (
        "Correct, at random",
        "Wrong, at random",
        "Most correct: cat",
        "Most wrong: called dog",
        "Most uncertain",
    ):
        assert title in markup
    assert markup.count("data:image/jpeg;base64,") >= 12
    assert ": wrong, is cat" in markup


def test_card_names_nested_facts_and_leaves_empty_ones_out(tmp_path: Path) -> None:
    shown = words(card_section(full_content(tmp_path)))

    assert "name pets clip bound none training, seed 3" in shown
    assert "note" not in shown


def test_expected_score_is_left_out_when_unknown() -> None:
    content = content_of([[0.5, 0.5]], [0])
    known = dataclasses.replace(content, expected_score=ScoreInterval(0.2, 0.1, 0.3))

    assert "Kaggle score" not in headline_section(content)
    assert "Kaggle score" in headline_section(known)


def test_diagnosis_lists_remedies_in_order_and_escapes(tmp_path: Path) -> None:
    section = diagnosis_section(full_content(tmp_path))

    assert "The gap is &lt;wide&gt;" in section
    assert section.index("more data") < section.index("rest")
