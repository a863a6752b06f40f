"""The compose files, merged and parsed for tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = ROOT / "docker-compose.yml"
FILES: Final = [COMPOSE, *sorted((ROOT / "deploy").glob("compose.*.yml"))]
SERVICES: Final[dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]

VARIABLE: Final = re.compile(r"\$\{(\w+)(:-|:\?)?((?:[^{}]|\$\{[^}]*\})*)\}")
_PASSED_ON: Final = re.compile(r"^ {4}(AWS_\w+):$", re.MULTILINE)


def services(file: Path) -> dict[str, Any]:
    """The services that *file* describes, or changes."""
    found: dict[str, Any] = yaml.safe_load(file.read_text())["services"]
    return found


def defaults(text: object) -> str:
    """What compose makes of *text* where no variable is set but the required ones."""

    def value(match: re.Match[str]) -> str:
        return defaults(match[3]) if match[2] == ":-" else "chosen"

    return VARIABLE.sub(value, str(text))


def variables(file: Path) -> dict[str, str]:
    """The variables that *file* asks for, with their defaults; "" if they have none."""
    text = _without_comments(file)
    passed_on = dict.fromkeys(_PASSED_ON.findall(text), "")
    found = {
        name: defaults(default) if operator == ":-" else ""
        for name, operator, default in _all_variables(text)
    }
    return {**passed_on, **found}


def _all_variables(text: str) -> list[tuple[str, str, str]]:
    found = VARIABLE.findall(text)
    return found + [each for *_, default in found for each in VARIABLE.findall(default)]


def _without_comments(file: Path) -> str:
    lines = file.read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))
