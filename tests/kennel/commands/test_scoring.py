"""`kennel score`: its output."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from kennel.cli import main


def test_score_prints_json_for_scripts(tmp_path: Path) -> None:
    for name, value in (("t.csv", "1"), ("s.csv", "0.5")):
        (tmp_path / name).write_text(f"id,label\n1,{value}\n")

    result = CliRunner().invoke(
        main, ["score", str(tmp_path / "s.csv"), str(tmp_path / "t.csv"), "--json"]
    )

    assert '"log_loss": 0.693' in result.output
    assert '"positive": "1"' in result.output


def test_score_says_whose_probability_one_column_is(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,label\n1,cat\n2,dog\n")
    (tmp_path / "s.csv").write_text("id,label\n1,0.5\n2,0.5\n")
    (tmp_path / "two.csv").write_text("id,cat,dog\n1,0.5,0.5\n2,0.5,0.5\n")
    truth = str(tmp_path / "t.csv")

    one = CliRunner().invoke(main, ["score", str(tmp_path / "s.csv"), truth]).output
    two = CliRunner().invoke(main, ["score", str(tmp_path / "two.csv"), truth]).output

    assert "the column: probability of dog" in one
    assert "probability of" not in two


def test_score_says_what_to_do_with_a_csv_the_wrong_way_round(tmp_path: Path) -> None:
    rows = [(n, n % 2, 0.1 if n % 2 else 0.8) for n in range(12)]
    truth = "".join(f"{n},{'cat' if odd else 'big dog'}\n" for n, odd, _ in rows)
    given = "".join(f"{n},{value}\n" for n, _, value in rows)
    (tmp_path / "t.csv").write_text(f"id,label\n{truth}")
    (tmp_path / "s.csv").write_text(f"id,label\n{given}")
    command = ["score", str(tmp_path / "s.csv"), str(tmp_path / "t.csv")]

    wrong = CliRunner().invoke(main, command).output
    right = CliRunner().invoke(main, [*command, "--positive", "big dog"]).output

    assert "as the probability of 'big dog', not of 'cat'" in wrong
    assert "Score it with --positive 'big dog', or" in wrong
    assert "wrong way round" not in right


def test_labels_are_scored_without_a_log_loss(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,label\n1,cat\n2,dog\n")
    command = ["score", str(tmp_path / "t.csv"), str(tmp_path / "t.csv")]

    result = CliRunner().invoke(main, command)
    as_json = CliRunner().invoke(main, [*command, "--json"])

    assert result.output.startswith(
        "accuracy 1.0000, 2 images\n  recall of cat: 1.0000"
    )
    assert '"accuracy": 1.0' in as_json.output
