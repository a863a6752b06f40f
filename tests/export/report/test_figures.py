"""Figures of the report, against values computed by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from export.evaluation.metrics import ScoreInterval
from export.report.content import ReportedPhotos
from export.report.figures import Table, wilson_interval
from export.report.page import render_report
from models.probabilities import log_loss, softmax
from tests.export.report.reports import content_of, full_content, section, words


def test_probabilities_before_the_temperature_are_found_again() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3)) * 8
    classes = np.zeros(20, np.int64)
    photos = ReportedPhotos("abc", [], classes, softmax(logits, 2.5), temperature=2.5)

    raw = photos.uncalibrated()

    assert raw == pytest.approx(softmax(logits), abs=1e-12)


def test_headline_names_all_log_losses(tmp_path: Path) -> None:
    content = full_content(tmp_path)
    raw = content.photos.uncalibrated()

    shown = words(section(content, "figures"))

    assert raw is not None
    assert f"Log loss, raw {log_loss(raw, content.photos.classes):.4f}" in shown
    assert "divided by temperature 1.300" in shown
    assert "at most 0.97" in shown
    assert "Expected Kaggle score 0.4000 90 % interval 0.3000 to 0.5000" in shown
    assert "score of the CSV 0.1234" in shown


def test_headline_without_calibration_says_what_it_knows() -> None:
    shown = words(section(content_of([[0.5, 0.5]], [0]), "figures"))

    assert "Log loss, calibrated 0.6931 as served" in shown
    assert "raw" not in shown
    assert "clipped" not in shown


def test_expected_score_is_left_out_when_unknown() -> None:
    content = content_of([[0.5, 0.5]], [0])
    known = dataclasses.replace(content, expected_score=ScoreInterval(0.2, 0.1, 0.3))

    assert "Kaggle score" not in section(content, "figures")
    assert "Kaggle score" in section(known, "figures")


def test_wilson_interval_is_the_textbook_one() -> None:
    assert wilson_interval(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert wilson_interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_counts_are_summed_over_parts_and_labels(tmp_path: Path) -> None:
    shown = words(section(full_content(tmp_path), "data"))

    assert "cat 1,200 3 1,203 99.3 %" in shown
    assert "all 1,208 3 1,211 100 %" in shown


def test_photos_of_folds_are_counted_once(tmp_path: Path) -> None:
    counts = {"cross-validated": {"cat": 34, "dog": 33}}
    content = dataclasses.replace(full_content(tmp_path), counts=counts)

    shown = words(section(content, "data"))

    assert "label cross-validated share cat 34 50.7 % dog 33 49.3 % all 67" in shown


def test_diagnosis_lists_remedies_in_order_and_escapes(tmp_path: Path) -> None:
    markup = section(full_content(tmp_path), "diagnosis")

    assert "The gap is &lt;wide&gt;" in markup
    assert markup.index("more data") < markup.index("rest")


def test_confusion_has_counts_and_shares_of_rows() -> None:
    rows = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]

    shown = words(section(content_of(rows, [0, 0, 0, 1]), "confusion"))

    assert "cat 66.7 % 2 33.3 % 1 3 dog 100.0 % 1 · 1" in shown


def test_confusions_of_many_labels_are_ranked() -> None:
    rows = [[0.1, 0.1, 0.8]] * 3 + [[0.1, 0.8, 0.1]]

    shown = words(section(content_of(rows, [0, 0, 1, 0]), "confusion"))

    assert "cat called owl 2 66.7 % cat called dog 1 33.3 % dog called owl" in shown


def test_label_without_photos_has_no_share() -> None:
    shown = words(section(content_of([[0.9, 0.1]], [0]), "confusion"))

    assert "dog · · 0" in shown


def test_card_names_nested_facts_and_leaves_empty_ones_out(tmp_path: Path) -> None:
    markup = section(full_content(tmp_path), "card")

    shown = words(markup)
    assert '<td class="words">pets</td>' in markup
    assert "name pets clip bound none training, seed 3" in shown
    assert "note" not in shown


def test_columns_of_numbers_align_right_and_words_left() -> None:
    table = Table("all", ["who", "count", "kind"], [["a", "1,200", "Conv2D"]])

    assert table.words == [True, False, True]


def test_precisions_are_compared_only_where_the_card_has_them(tmp_path: Path) -> None:
    plain = full_content(tmp_path)
    eight = {"precision": "int8", "accuracy": 0.87, "log_loss": 0.3121}
    unjudged = {"precision": "float32", "accuracy": None, "log_loss": None}
    compared = {
        "summary": "int8 beside float32",
        "processor": "Abacus 3",
        "figures": [
            {**eight, "images_per_second": {"1": 20.04, "32": 31.2}},
            {**unjudged, "images_per_second": {"1": 6.8, "32": 8.1}},
        ],
    }
    card = {**plain.card, "precisions": compared}

    shown = words(section(dataclasses.replace(plain, card=card), "precisions"))

    assert "Int8 beside float32. Measured on Abacus 3" in shown
    assert "images/s, batch 1 images/s, batch 32" in shown
    assert "int8 87.00 % 0.3121 20.0 31.2 float32 - - 6.8 8.1" in shown
    assert 'id="precisions"' not in render_report(plain)
