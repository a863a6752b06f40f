"""The offline score equals Kaggle's rules and refuses what Kaggle would."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from export.evaluation.scoring import score_submission
from models.errors import InvalidRequestError


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([*lines, ""]))
    return path


def test_binary_score_is_the_mean_of_minus_log(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "id,label", "1,1", "2,0", "3,1")
    csv = write(tmp_path / "s.csv", "id,label", "3,0.2", "1,0.9", "2,0.1")

    score = score_submission(csv, truth)

    assert score.log_loss == pytest.approx(
        -(math.log(0.9) + math.log(0.9) + math.log(0.2)) / 3
    )
    assert score.accuracy == pytest.approx(2 / 3)


def test_multiclass_rows_are_normalised_first(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "img,label", "a.jpg,c1")
    csv = write(tmp_path / "s.csv", "img,c0,c1,c2", "a.jpg,0.5,1.0,0.5")

    assert score_submission(csv, truth).log_loss == pytest.approx(math.log(2))


def test_zero_for_the_truth_costs_kaggles_epsilon(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "id,label", "1,1")
    csv = write(tmp_path / "s.csv", "id,label", "1,0")

    assert score_submission(csv, truth).log_loss == pytest.approx(-math.log(1e-15))


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["id,label", "1,0.5"], "lacks 1 ids, the first is '2'"),
        (["id,label", "1,0.5", "2,0.5", "3,0.5"], "has unknown 1 ids"),
        (["id,label", "1,0.5", "1,0.5"], "id '1' again"),
        (["id,label", "1,0.5", "2,1.5"], "no probabilities"),
        (["id,label", "1,0.5", "2,nan"], "no probabilities"),
        (["id,label", "1,0.5", "2,dog"], "could not convert"),
        (["id,label", "1,0.5", "2"], "line 3 has 1 fields"),
        (["id"], "needs a header"),
    ],
)
def test_bad_submission_is_refused_by_name(
    tmp_path: Path, lines: list[str], complaint: str
) -> None:
    truth = write(tmp_path / "t.csv", "id,label", "1,1", "2,0")
    csv = write(tmp_path / "s.csv", *lines)

    with pytest.raises(InvalidRequestError, match=complaint):
        score_submission(csv, truth)
