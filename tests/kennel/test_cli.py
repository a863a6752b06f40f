"""The command line: quick to help, plain in its refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kennel.cli import COMMANDS, main


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_with_examples(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])

    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"kennel {command}" in " ".join(result.output.split())


def test_help_imports_no_tensorflow() -> None:
    program = (
        "import sys; from kennel.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras', 'flask', 'grpc'} & set(sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "submit" in done.stdout


@pytest.mark.parametrize(
    "command", ["up --port 99999", "up --redis-port -1", "model-server --port 65536"]
)
def test_port_that_there_is_not_is_misuse(command: str) -> None:
    result = CliRunner().invoke(main, command.split())

    assert result.exit_code == 2
    assert "is not in the range 0<=x<=65535" in result.output


def test_misuse_exits_with_2_and_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,label\n1,1\n")
    (tmp_path / "s.csv").write_text("id,label\n2,0.5\n")

    result = CliRunner().invoke(
        main, ["score", str(tmp_path / "s.csv"), str(tmp_path / "t.csv")]
    )

    assert result.exit_code == 2
    assert "lacks 1 of the ids in" in result.output
    assert "Traceback" not in result.output


def test_failure_exits_with_1(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(b"x")

    result = CliRunner().invoke(
        main, ["predict", str(photo), "--url", "http://127.0.0.1:1"]
    )

    assert result.exit_code == 1
    assert "start it with 'kennel up'" in result.output


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


def test_paths_that_are_not_utf8_are_printed_as_escapes(tmp_path: Path) -> None:
    home = os.fsencode(tmp_path) + b"/h\xfc"
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}

    done = subprocess.run(
        [sys.executable, "-m", "kennel.cli", "models"],
        env={
            **{os.fsencode(k): os.fsencode(v) for k, v in env.items()},
            b"KENNEL_HOME": home,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/h\\udcfc" in done.stdout


def test_models_of_an_empty_home_names_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KENNEL_HOME", str(tmp_path))

    result = CliRunner().invoke(main, ["models"])

    assert result.exit_code == 0
    assert "kennel train" in result.output


def test_commands_are_real_click_commands() -> None:
    context = click.Context(main)

    for name in COMMANDS:
        assert isinstance(main.get_command(context, name), click.Command)
