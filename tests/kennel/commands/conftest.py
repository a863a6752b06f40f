"""Photos for the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pictures import write_folder


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    write_folder(tmp_path, 2)
    return [str(tmp_path / "1.png"), str(tmp_path / "2.png")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos", 20)
    return tmp_path / "photos"
