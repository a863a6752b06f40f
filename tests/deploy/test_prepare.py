"""deploy/prepare.sh: .env, folders and passwords of a new installation."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.deploy.compose_files import FILES, ROOT, variables

EXAMPLE = ROOT / ".env.example"
_LINE = re.compile(r"^#?([A-Z_0-9]+)=(.*)$", re.MULTILINE)

NOT_COMPOSED = {"COMPOSE_FILE"}
"""compose reads it itself."""


def prepare(folder: Path) -> None:
    (folder / "deploy").mkdir(exist_ok=True)
    for name in (".env.example", "deploy/prepare.sh"):
        shutil.copy(ROOT / name, folder / name)
    command = ["sh", str(folder / "deploy/prepare.sh")]
    subprocess.run(command, check=True, capture_output=True)


def test_the_example_has_every_variable_and_no_other() -> None:
    asked = {name for file in FILES for name in variables(file)}
    offered = {name for name, _ in _LINE.findall(EXAMPLE.read_text())}

    assert offered - NOT_COMPOSED == asked


def test_the_examples_values_are_the_defaults() -> None:
    composed = variables(FILES[0])
    # Each model server has an image of its own.
    del composed["MODEL_SERVER_IMAGE"]
    for name, value in _LINE.findall(EXAMPLE.read_text()):
        # An empty default is the process's own: README has the table.
        assert composed.get(name, "") in {"", value}, name


def test_passwords_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    prepare(tmp_path)
    secret = tmp_path / "secrets/redis-password"
    password = secret.read_text()
    prepare(tmp_path)

    assert re.fullmatch("[0-9a-f]{48}", password)
    assert secret.read_text() == password
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    # The container's user is another one, and meets the file without its folder.
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644


def test_settings_that_are_there_stay(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_PORT=1\nTRAINER_USER=1:1\n")
    prepare(tmp_path)

    assert (tmp_path / ".env").read_text() == "API_PORT=1\nTRAINER_USER=1:1\n"
    for name in ("var/models", "var/data", "var/keys"):
        assert (tmp_path / name).is_dir()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_passwords_are_no_variables(file: Path) -> None:
    for name in variables(file):
        # Amazon's are, where a machine has no role of its own.
        assert name.startswith("AWS_") or not re.search(
            "(PASSWORD|SECRET|TOKEN|KEY)S?$", name
        )
