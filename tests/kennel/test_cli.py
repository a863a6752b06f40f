"""The command line: fast help, plain error messages."""

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
