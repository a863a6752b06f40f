"""Every test that docs/jobs.md names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/jobs.md"
MATRIX = [f"F{number}" for number in range(1, 38)]


def table_of(section: str) -> dict[str, list[str]]:
    """The tests that are named in each row, by the row's first cell."""
    text = PAGE.read_text(encoding="utf-8").partition(f"## {section}\n")[2]
    lines = text.partition("\n## ")[0].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {row[0]: re.findall(r"`(test_\w+)`", row[-1]) for row in cells[1:]}


def defined_tests() -> set[str]:
    names = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        names.update(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
    return names


@pytest.mark.parametrize(
    "section", ["Input that is not as it should be", "How the promise is tested"]
)
def test_each_row_names_tests_that_there_are(section: str) -> None:
    rows = table_of(section)

    assert len(rows) > 15
    assert [row for row, named in rows.items() if not named] == []
    assert {each for named in rows.values() for each in named} <= defined_tests()


def test_each_fault_of_the_matrix_has_its_row() -> None:
    assert [
        row for row in table_of("How the promise is tested") if row in MATRIX
    ] == MATRIX
