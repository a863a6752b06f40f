"""The alert rules and the dashboard, parsed; and promtool, which checks them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "kennel.json"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TEST_FILES = sorted((PROMETHEUS / "tests").glob("*.yml"))

_TEXT = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]')
_GROUPING = re.compile(r"\b(by|on|ignoring|without|group_left|group_right) ?\([^)]*\)")
_NAME = re.compile(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)(?! *\()\b")
_WORDS = {"and", "or", "unless", "group_left", "offset", "by", "on"}


def rules(kind: str) -> list[dict[str, Any]]:
    """The rules that are alerts ("alert") or recordings ("record")."""
    groups = [
        group
        for file in RULE_FILES
        for group in yaml.safe_load(file.read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return content


def shown_expressions() -> list[str]:
    return [
        target["expr"]
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


def metric_names(expressions: Iterable[str]) -> set[str]:
    """The metrics that PromQL *expressions* ask for."""
    found: set[str] = set()
    for expression in expressions:
        bare = _GROUPING.sub(" ", _TEXT.sub(" ", expression))
        found.update(_NAME.findall(bare))
    return found - _WORDS


def promtool(*arguments: str | Path) -> str:
    """What promtool says; a desk without it skips, CI fails."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no promtool: apt-get install prometheus")
        pytest.skip("no promtool: apt-get install prometheus")
    answer = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said
    return said
