"""JSON that is nested too deeply is malformed JSON, from every source."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from export.data.splits import read_split
from models.errors import (
    DatasetError,
    KennelError,
    NotFoundError,
)
from models.files import parse_json
from models.rollouts import ROLLOUTS_FILE, read_rollouts
from worker.manifest import read_manifest

DEEP = "[" * 100_000
ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "export", "service", "worker", "kennel")


def test_deep_text_is_no_json() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)


@pytest.mark.parametrize("text", ['{"a": [[]]}', "[[[]]]"])
def test_levels_are_counted(text: str) -> None:
    assert parse_json(text, 3) == json.loads(text)
    with pytest.raises(ValueError, match="deeper than 2 levels"):
        parse_json(text, 2)


@pytest.mark.parametrize(
    ("name", "read", "error"),
    [
        (ROLLOUTS_FILE, read_rollouts, KennelError),
        ("split.json", read_split, DatasetError),
    ],
)
def test_deep_file_is_named(
    tmp_path: Path, name: str, read: Callable[[Path], object], error: type[KennelError]
) -> None:
    path = tmp_path / name
    path.write_text(DEEP)

    with pytest.raises(error, match=name):
        read(path)


def test_deep_manifest_of_a_job_is_broken() -> None:
    with pytest.raises(NotFoundError, match="nested too deeply"):
        read_manifest(DEEP)


def test_json_is_read_in_one_place() -> None:
    sources = {each for name in PACKAGES for each in (ROOT / name).rglob("*.py")}

    assert not [
        str(each)
        for each in sources - {ROOT / "models/files.py"}
        if re.search(r"\bjson\.loads?\(", each.read_text(encoding="utf-8"))
    ]
