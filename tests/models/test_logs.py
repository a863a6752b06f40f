"""Log lines: one for each event, as text or as JSON."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from models.errors import InvalidRequestError
from models.logs import JsonLines, LogSettings, TextLines


def record(message: str, **members: object) -> logging.LogRecord:
    made = logging.LogRecord("kennel", logging.WARNING, "", 1, message, None, None)
    made.__dict__.update({"created": 1_767_225_600.25, **members})
    return made


def test_text_is_one_line_whatever_is_in_it() -> None:
    line = TextLines().format(record("a\nb\x1b[1m\u0085"))

    assert line == "2026-01-01T00:00:00.250Z WARNING kennel: a\\x0ab\\x1b[1m\\x85"


def test_json_has_the_members_of_the_event() -> None:
    line = JsonLines().format(record("a\nb", status=503))

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00.250Z",
        "level": "WARNING",
        "logger": "kennel",
        "message": "a\nb",
        "status": 503,
    }


def test_traceback_is_inside_the_json() -> None:
    try:
        raise LookupError("lost")
    except LookupError:
        line = JsonLines().format(record("failed", exc_info=sys.exc_info()))

    assert json.loads(line)["traceback"].endswith("LookupError: lost")


@pytest.mark.parametrize("variable", ["LOG_FORMAT", "LOG_LEVEL"])
def test_malformed_setting_names_its_variable(variable: str) -> None:
    with pytest.raises(InvalidRequestError, match=variable):
        LogSettings.from_env({variable: "loud"})


def test_warnings_and_foreign_loggers_write_the_same_lines() -> None:
    program = (
        "import logging, warnings; from models.logs import LogSettings, set_up_logging;"
        "set_up_logging(LogSettings('json')); warnings.warn('old');"
        "logging.getLogger('elsewhere').info('new')"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["py.warnings", "elsewhere"]
    assert "old" in lines[0]["message"]
