"""The offline score follows Kaggle's rules and refuses what Kaggle refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from export.scoring.csv_files import check_submission
from export.scoring.score import Recall, score_labels, score_submission
from models.errors import InvalidRequestError

BINARY_TRUTH = ("id,label", "1,1", "2,0", "3,1")


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([*lines, ""]))
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write(tmp_path / "t.csv", *BINARY_TRUTH)


def test_binary_score_is_the_mean_of_minus_log(tmp_path: Path, truth: Path) -> None:
    csv = write(tmp_path / "s.csv", "id,label", "3,0.2", "1,0.9", "2,0.1")

    score = score_submission(csv, truth)

    expected = -(math.log(0.9) + math.log(0.9) + math.log(0.2)) / 3
    assert score.log_loss == pytest.approx(expected)
    assert score.accuracy == pytest.approx(2 / 3)
    assert [(each.label, each.recall) for each in score.recalls] == [
        *(("0", 1.0), ("1", 0.5))
    ]


def test_multiclass_rows_are_normalised_first(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "img,label", "a.jpg,c1")
    csv = write(tmp_path / "s.csv", "img,c0,c1,c2", "a.jpg,0.5,1.0,0.5")

    assert score_submission(csv, truth).log_loss == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("header", "row", "label"),
    [("id,label", "1,0", "1"), ("img,a,b,c", "1,0,0.5,0.5", "a")],
)
def test_zero_for_the_truth_costs_kaggles_epsilon(
    tmp_path: Path, header: str, row: str, label: str
) -> None:
    truth = write(tmp_path / "t.csv", "id,label", f"1,{label}")
    csv = write(tmp_path / "s.csv", header, row)

    assert score_submission(csv, truth).log_loss == pytest.approx(-math.log(1e-15))


def test_score_equals_the_rule_written_out_for_each_row(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    rows = generator.random((50, 4)).round(6)
    classes = generator.integers(0, 4, 50)
    lines = [f"{i},{','.join(map(str, row))}" for i, row in enumerate(rows)]
    csv = write(tmp_path / "s.csv", "img,a,b,c,d", *lines)
    named = [f"{i},{'abcd'[number]}" for i, number in enumerate(classes)]
    truth = write(tmp_path / "t.csv", "img,label", *named)

    score = score_submission(csv, truth)

    by_hand = [
        -math.log(min(max(row[k] / sum(row), 1e-15), 1 - 1e-15))
        for row, k in zip(rows.tolist(), classes.tolist(), strict=True)
    ]
    assert score.log_loss == pytest.approx(sum(by_hand) / 50, abs=1e-12)
    assert [each.loss for each in score.worst] == pytest.approx(
        sorted(by_hand, reverse=True)[:10]
    )


def test_worst_images_are_named_with_their_share(tmp_path: Path, truth: Path) -> None:
    csv = write(tmp_path / "s.csv", "id,label", "1,0.9", "2,0.999", "3,0.5")

    worst = score_submission(csv, truth, worst=2).worst

    total = -math.log(0.9) - math.log(0.001) - math.log(0.5)
    assert [(each.id, each.label, each.predicted) for each in worst] == [
        *(("2", "0", "1"), ("3", "1", "0"))
    ]
    assert worst[0].probability == pytest.approx(0.001)
    assert worst[0].share == pytest.approx(-math.log(0.001) / total)


def test_hindsight_finds_the_accuracy_as_bound_of_a_saturated_file(
    tmp_path: Path,
) -> None:
    truth = write(tmp_path / "t.csv", "id,label", *(f"{n},1" for n in range(100)))
    rows = (f"{n},{0 if n < 3 else 1}" for n in range(100))
    csv = write(tmp_path / "s.csv", "id,label", *rows)

    best = score_submission(csv, truth).hindsight

    assert best.clip == 0.97
    assert best.log_loss == pytest.approx(
        -(0.97 * math.log(0.97) + 0.03 * math.log(0.03))
    )


def test_hindsight_sees_when_no_tighter_clip_helps(tmp_path: Path, truth: Path) -> None:
    csv = write(tmp_path / "s.csv", "id,label", "1,0.99", "2,0.01", "3,0.99")

    assert score_submission(csv, truth).hindsight.clip is None


def test_submission_the_wrong_way_round_is_noticed(tmp_path: Path) -> None:
    names = ["cat", "dog"] * 10
    rows = [0.9 if name == "cat" else 0.6 for name in names]
    truth = write(
        tmp_path / "t.csv", "id,label", *(f"{n},{x}" for n, x in enumerate(names))
    )
    csv = write(
        tmp_path / "s.csv", "id,label", *(f"{n},{p}" for n, p in enumerate(rows))
    )

    score = score_submission(csv, truth)

    assert score.positive is not None
    assert score.mixed_up is not None
    assert score.mixed_up.labels == ("dog", "cat")
    assert score.mixed_up.log_loss == score_submission(csv, truth, "cat").log_loss
    assert score_submission(csv, truth, "cat").mixed_up is None


def test_columns_that_hold_each_others_labels_are_noticed(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"] * 10
    truth = write(
        tmp_path / "t.csv", "id,label", *(f"{n},{x}" for n, x in enumerate(names))
    )
    shifted = {"a": ".1,.1,.7,.1", "b": ".7,.1,.1,.1", "c": ".1,.7,.1,.1"}
    rows = [f"{n},{shifted.get(x, '.1,.1,.1,.7')}" for n, x in enumerate(names)]
    csv = write(tmp_path / "s.csv", "id,a,b,c,d", *rows)

    mixed = score_submission(csv, truth).mixed_up

    assert mixed is not None
    assert (mixed.labels, mixed.accuracy) == (("b", "c", "a", "d"), 1)


def test_chance_is_not_called_a_mistake(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    for labels in ("ab", "abc"):
        classes = generator.integers(0, len(labels), 300)
        named = (f"{n},{labels[number]}" for n, number in enumerate(classes))
        truth = write(tmp_path / "t.csv", "id,label", *named)
        values = generator.dirichlet([1] * len(labels), 300)
        rows = (f"{n},{','.join(map(str, row))}" for n, row in enumerate(values))
        csv = write(tmp_path / "s.csv", f"id,{','.join(labels)}", *rows)

        assert score_submission(csv, truth).mixed_up is None


@pytest.mark.parametrize(
    ("lines", "positive", "classes"),
    [
        (("id,label", "1,dog", "2,cat", "3,dog"), None, "1,0,1"),
        (("id,label", "1,dog", "2,cat", "3,dog"), "cat", "0,1,0"),
        (("file,class", "1,dog", "2,dog", "3,dog"), "dog", "1,1,1"),
        (("id,label,Usage", "1,1,Public", "2,0,Private", "3,1,Public"), None, "1,0,1"),
        (("id,label", "1,1.0", "2,0.0", "3,1.0"), None, "1,0,1"),
    ],
)
def test_truth_of_one_column_is_read_in_any_usual_form(
    tmp_path: Path, lines: tuple[str, ...], positive: str | None, classes: str
) -> None:
    truth = write(tmp_path / "t.csv", *lines)
    values = [
        f"{n},{0.9 if each == '1' else 0.1}"
        for n, each in enumerate(classes.split(","), start=1)
    ]
    csv = write(tmp_path / "s.csv", "id,label", *values)

    assert score_submission(csv, truth, positive).accuracy == 1


def test_solution_file_has_a_column_a_label_and_rows_to_ignore(tmp_path: Path) -> None:
    truth = write(
        tmp_path / "t.csv",
        *("img,c0,c1,c2,Usage", "a,0,1,0,Public", "b,1,0,0,Ignored"),
    )
    csv = write(tmp_path / "s.csv", "img,c1,c0,c2", "b,1,0,0", "a,0.5,0.25,0.25")

    score = score_submission(csv, truth)

    assert score.images == 1
    assert score.log_loss == pytest.approx(math.log(2))


def test_full_format_is_scored_without_its_label_column(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "id,label", "1,dog")
    csv = write(tmp_path / "s.csv", "id,label,cat,dog", "1,cat,0.75,0.25")

    assert score_submission(csv, truth).log_loss == pytest.approx(math.log(4))


def test_labels_are_scored_by_accuracy(tmp_path: Path) -> None:
    truth = write(
        tmp_path / "t.csv", "id,label", "1,dog", "2,cat", "3,dog", "4,caf\xe9"
    )
    csv = write(
        tmp_path / "s.csv", "id,species", "4,cafe\u0301", "3,cat", "2,cat", "1,dog"
    )

    score = score_labels(csv, truth)

    assert score is not None
    assert (score.images, score.accuracy) == (4, 0.75)
    assert Recall("dog", 2, 0.5) in score.recalls
    numbers = write(tmp_path / "n.csv", "id,label", "1,0", "2,1", "3,0", "4,2")
    with pytest.raises(InvalidRequestError, match=r"'0', '1', '2'.* 'dog', 'cat'"):
        score_labels(numbers, truth)
    assert score_labels(numbers, numbers) is not None


@pytest.mark.parametrize(
    ("header", "row", "labels"),
    [("id,label", "1", "ab"), ("id,label", "0.5", "abc"), ("id,a,b,c", "1,1,1", "abc")],
)
def test_probabilities_are_no_labels(
    tmp_path: Path, header: str, row: str, labels: str
) -> None:
    truth = write(tmp_path / "t.csv", "id,x", *(f"{n},{n}" for n in labels))
    csv = write(tmp_path / "s.csv", header, *(f"{n},{row}" for n in labels))

    assert score_labels(csv, truth) is None


def test_byte_order_mark_crlf_and_empty_lines_do_not_matter(
    tmp_path: Path, truth: Path
) -> None:
    csv = tmp_path / "s.csv"
    csv.write_bytes(b"\xef\xbb\xbfid,label\r\n1,0.9\r\n2,0.1\r\n3,0.9\r\n\r\n")

    assert score_submission(csv, truth).accuracy == 1


@pytest.mark.parametrize(
    "content",
    [
        b"id;label\r\n1;0,9\r\n2;0,1\r\n3;0,9\r\n",
        "id\tlabel\r\n1\t0,9\r\n2\t0,1\r\n3\t0,9\r\n".encode("utf-16"),
        b"sep=;\r\nid;label ;;\r\n1;0.9;;\r\n 2;0.1;;\r\n3\xc2\xa0; 0.9;;\r\n;;;\r\n",
    ],
)
def test_files_saved_by_excel_are_scored(
    tmp_path: Path, truth: Path, content: bytes
) -> None:
    csv = tmp_path / "s.csv"
    csv.write_bytes(content)

    assert score_submission(csv, truth).accuracy == 1
    with pytest.raises(InvalidRequestError, match="save it with commas"):
        check_submission(csv)


@pytest.mark.parametrize("header", ["id,label,,", "id, label", "sep=,\nid,label"])
def test_header_that_a_competition_would_not_know_is_refused(
    tmp_path: Path, truth: Path, header: str
) -> None:
    csv = write(tmp_path / "s.csv", header, "1,0.9", "2,0.1", "3,0.9")

    assert score_submission(csv, truth).accuracy == 1
    with pytest.raises(InvalidRequestError, match="no plain CSV"):
        check_submission(csv)


def test_truth_saved_by_excel_is_read(tmp_path: Path) -> None:
    truth = tmp_path / "t.csv"
    truth.write_bytes("img;caf\xe9;b\xe4r\r\n1;1,0;0\r\n2;0; 1\r\n".encode("utf-16"))
    csv = write(tmp_path / "s.csv", "img,cafe\u0301,ba\u0308r", "1,1,0", "2,0,1")

    assert score_submission(csv, truth).accuracy == 1


def test_ids_and_labels_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "id,label", "caf\xe9,b\xe4r", "x,wolf")
    csv = write(tmp_path / "s.csv", "id,label", "cafe\u0301,0.9", "x,0.1")

    assert score_submission(csv, truth, "ba\u0308r").accuracy == 1


def test_nearest_id_is_named(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "id,label", "0,1", "1,0")
    csv = write(tmp_path / "s.csv", "id,label", "00000,1", "00001,0")

    with pytest.raises(InvalidRequestError, match="'0'; the nearest it has is '00000'"):
        score_submission(csv, truth)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["id,label", "1,0.5", "2,0.5"], "lacks 1 of the ids in .*, the first is '3'"),
        (["id,label", "1,.5", "2,.5", "3,.5", "4,.5"], "has 1 ids that .* is '4'"),
        (["id,label", "1,.5", "2,.5", "1,.5"], "line 4: id '1' is on line 2 already"),
        (
            ["id,label", "1,0.5", "2,1.5", "3,0"],
            "line 3: id '2': 1.5 is no probability",
        ),
        (["id,label", "1,0.5", "2,-0.1", "3,0"], "line 3: id '2': -0.1 is no"),
        (["id,label", "1,0.5", "2,nan", "3,0"], "line 3: id '2': nan is no"),
        (["id,label", "1,0.5", "2,inf", "3,0"], "line 3: id '2': inf is no"),
        (["id,label", "1,0.5", "2,dog", "3,0"], "line 3: id '2': 'dog' is no number"),
        (["id,label", "1,0.5", "2,", "3,0"], "line 3: id '2': '' is no number"),
        (["id,a,b", "1,0,0", "2,0,0", "3,0,1"], r"line 2: id '1': .* all 0.*2 such"),
        (["id,label", "1,0.5", "2"], "line 3: id '2': '' is no number"),
        (["id,label", "1,0.5,5"], "line 2: it has 3 columns, the header has 2"),
        ([",id,label", "0,1,0.5"], "row numbers before 'id'.*index=False"),
        (["Unnamed: 0,id,p", "0,1,0.5"], "row numbers before 'id'.*index=False"),
        (
            ["id,label", "test/1.jpg,0.5", "test/2.jpg,.5"],
            "first is '1', the first that only it has is 'test/1.jpg'",
        ),
        (["id,label"], "has a header and no rows"),
        (["id"], "has to name an id column"),
        (["id,c0,c0", "1,1,1"], "each once"),
        ([], "has to name an id column"),
    ],
)
def test_bad_submission_is_refused_by_line_and_id(
    tmp_path: Path, truth: Path, lines: list[str], complaint: str
) -> None:
    csv = write(tmp_path / "s.csv", *lines)

    with pytest.raises(InvalidRequestError, match=complaint):
        score_submission(csv, truth)


@pytest.mark.parametrize(
    ("header", "lines", "complaint"),
    [
        ("id,label", ["id,label", "1,cat", "2,dog", "3,cow"], "3 .*--positive"),
        ("id,label", ["id,label", "1,dog", "2,dog", "3,dog"], "1 .*--positive"),
        ("id,cat,dog", ["id,label", "1,cat", "2,dog", "3,cow"], "'cow', .* cat, dog"),
        ("id,cat,dog", ["id,cat,dog", "1,1,1", "2,0,1", "3,0,1"], "line 2: .* one 1"),
        ("id,label", ["id,label,file", "1,cat,a.jpg"], "'label', 'file' are taken for"),
        ("id,label", ["id,label", "1,cat", "2, ", "3,dog"], "line 3: id '2' has no"),
        ("id,cat,dog", ["id,Usage", "1,Public", "2,x", "3,x"], "no column of labels"),
        (
            "id,label",
            [*(f"{row},Ignored" for row in ("id,label", *"123"))],
            "line 2: id '1' needs one 1",
        ),
    ],
)
def test_truth_that_does_not_fit_is_refused(
    tmp_path: Path, header: str, lines: list[str], complaint: str
) -> None:
    truth = write(tmp_path / "t.csv", *lines)
    values = ",".join(["0.5"] * header.count(","))
    csv = write(tmp_path / "s.csv", header, *(f"{n},{values}" for n in "123"))

    with pytest.raises(InvalidRequestError, match=complaint):
        score_submission(csv, truth)


def test_submission_that_fits_the_sample_may_be_handed_in(tmp_path: Path) -> None:
    sample = write(tmp_path / "sample.csv", "id,label", "2,0", "1,0")
    csv = write(tmp_path / "s.csv", "id,label", "1,0.5", "2,0.5")

    checked = check_submission(csv, sample)

    assert (checked.rows, checked.size_bytes) == (2, csv.stat().st_size)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["id,label", "1,0"], "1 ids that are not in"),
        (["id,label", "1,0", "3,0"], "lacks 1 of the ids"),
        (["img,label", "1,0", "2,0"], "has the header id,label"),
    ],
)
def test_submission_that_does_not_fit_the_sample_is_refused(
    tmp_path: Path, lines: list[str], complaint: str
) -> None:
    sample = write(tmp_path / "sample.csv", *lines)
    csv = write(tmp_path / "s.csv", "id,label", "1,0.5", "2,0.5")

    with pytest.raises(InvalidRequestError, match=complaint):
        check_submission(csv, sample)


def test_label_that_the_truth_lacks_is_named(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", *BINARY_TRUTH)
    csv = write(tmp_path / "s.csv", "id,label", "1,0.5", "2,0.5", "3,0.5")

    with pytest.raises(InvalidRequestError, match="--positive 'dog' is no label of"):
        score_submission(csv, truth, "dog")


def test_truth_may_have_dummies_of_pandas(tmp_path: Path) -> None:
    truth = write(
        tmp_path / "t.csv", "id,cat,dog", "1,False,True", "2,True,False", "3,FALSE,TRUE"
    )
    csv = write(tmp_path / "s.csv", "id,cat,dog", "1,0,1", "2,0.9,0.1", "3,1,0")

    assert score_submission(csv, truth).accuracy == pytest.approx(2 / 3)


def test_labels_that_change_places_are_noticed(tmp_path: Path) -> None:
    names = ["cat", "dog", "dog"] * 8
    other = {"cat": "dog", "dog": "cat"}
    truth = write(
        tmp_path / "t.csv", "id,label", *(f"{n},{x}" for n, x in enumerate(names))
    )
    csv = write(
        tmp_path / "s.csv", "id,y", *(f"{n},{other[x]}" for n, x in enumerate(names))
    )
    always = write(tmp_path / "a.csv", "id,y", *(f"{n},cat" for n in range(24)))

    score = score_labels(csv, truth)

    assert score is not None
    assert score.renamed is not None
    assert dict(score.renamed.names) == other
    assert (score.accuracy, score.renamed.accuracy) == (0, 1)
    for fine in (truth, always):
        right = score_labels(fine, truth)
        assert right is not None
        assert right.renamed is None


def test_numbers_of_labels_may_be_floats_and_begin_at_another(tmp_path: Path) -> None:
    numbers = [0, 1, 2] * 8
    truth = write(
        tmp_path / "t.csv", "id,label", *(f"{n},{x}" for n, x in enumerate(numbers))
    )
    floats = write(
        tmp_path / "f.csv", "id,y", *(f"{n},{x}.0" for n, x in enumerate(numbers))
    )
    shifted = write(
        tmp_path / "s.csv", "id,y", *(f"{n},{x + 1}" for n, x in enumerate(numbers))
    )

    right, wrong = score_labels(floats, truth), score_labels(shifted, truth)

    assert right is not None
    assert (right.accuracy, right.renamed) == (1, None)
    assert wrong is not None
    assert wrong.renamed is not None
    assert wrong.renamed.names == (("1", "0"), ("2", "1"), ("3", "2"))
