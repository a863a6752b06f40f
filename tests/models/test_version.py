from __future__ import annotations

import tomllib
from pathlib import Path

from models.version import VERSION


def test_version_is_the_packages() -> None:
    text = Path("pyproject.toml").read_text(encoding="utf-8")

    assert tomllib.loads(text)["project"]["version"] == VERSION
