"""Charts of the report: their marks, and the numbers below them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from export.report.content import ReportContent, ReportedStage
from tests.export.report.reports import (
    content_of,
    full_content,
    section,
    some_epochs,
    some_photos,
    words,
)


def test_best_epoch_of_every_stage_is_ringed(tmp_path: Path) -> None:
    markup = section(full_content(tmp_path), "curves")

    chart = markup.split('aria-label="Loss')[1].split("</svg>")[0]
    assert chart.count('class="mark three"') == 2
    assert "Best epoch of the last stage: 5, validation 0.4000" in chart
    assert "stage 2" in chart
    assert "Member" not in markup


def test_members_have_charts_of_their_own(tmp_path: Path) -> None:
    content = dataclasses.replace(full_content(tmp_path), epochs=some_epochs(members=3))

    markup = section(content, "curves")

    assert "Member 3 of 3" in markup
    assert markup.count("<polyline") == 3 * 2 * 2


def test_stages_say_what_they_trained_and_kept(tmp_path: Path) -> None:
    stages = (
        ReportedStage(1, "", "head", 4352, "adamw", 30, 22, "--patience 8: no better"),
        ReportedStage(2, "", "conv:block5", 7_080_000, "adamw", 4, 0, "--patience 4"),
    )
    content = dataclasses.replace(full_content(tmp_path), stages=stages)

    shown = words(section(content, "curves"))

    assert "1 head 4,352 30 epoch 22 --patience 8" in shown
    assert "2 conv:block5 7,080,000 4 nothing: no epoch was better" in shown


def test_models_of_folds_go_by_their_names_and_strengths(tmp_path: Path) -> None:
    names = {number: f"fold {number - 1} of 2" for number in (2, 3)}
    stage = ReportedStage(1, "fold 1 of 2", "head", 9, "exact", 3, 3, "--epochs 3")
    epochs = [each for each in some_epochs(members=3) if each.member > 1]
    content = dataclasses.replace(
        full_content(tmp_path), epochs=tuple(epochs), models=names, stages=(stage,)
    )

    shown = words(section(content, "curves"))

    assert "Fold 2 of 2" in shown
    assert "Member" not in shown
    assert "regularisation loss" in shown


def test_training_that_diverged_still_draws(tmp_path: Path) -> None:
    bad = [dataclasses.replace(each, loss=float("nan")) for each in some_epochs()]
    content = dataclasses.replace(full_content(tmp_path), epochs=tuple(bad))

    markup = section(content, "curves")

    assert not re.search(r'points="[^"]*nan', markup)


def test_reliability_is_shown_before_and_after(tmp_path: Path) -> None:
    content = ReportContent("pets", some_photos(tmp_path))

    markup = section(content, "reliability")

    assert "Before calibration: ECE" in markup
    assert "After calibration, temperature 1.300: ECE" in markup


def test_reliability_without_temperature_is_shown_once() -> None:
    rows = [[0.9, 0.1]] * 9 + [[0.1, 0.9]]

    markup = section(content_of(rows, [0] * 10), "reliability")

    assert "As served: ECE 0.0\N{NO-BREAK SPACE}%" in markup
    assert markup.count("<svg class=") == 2


def test_clip_chart_marks_chosen_bound_095_and_none(tmp_path: Path) -> None:
    shown = words(section(ReportContent("pets", some_photos(tmp_path)), "clipping"))

    assert "chosen bound 0.97: " in shown
    assert "the course's bound 0.95: " in shown
    assert "no clipping: " in shown
    assert "least here" in shown


@pytest.mark.parametrize("bound", [None, 0.55, 0.999999, 1.0])
def test_clip_chart_takes_every_bound(tmp_path: Path, bound: float | None) -> None:
    photos = dataclasses.replace(some_photos(tmp_path), clip_bound=bound)

    assert "<polyline" in section(ReportContent("pets", photos), "clipping")
