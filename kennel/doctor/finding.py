"""What one check found; `ok`, `warn`, `fail` and `unknown` make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"
UNCHECKED: Final = "unchecked"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: its name, one of each in an area.
        verdict: ok, warning, failed, or unchecked: it could not be looked at.
        seen: what was there.
        remedy: what to do about it; "" if all is well.
    """

    check: str
    verdict: str
    seen: str
    remedy: str = ""


def ok(check: str, seen: str) -> Finding:
    """All is well."""
    return Finding(check, OK, seen)


def warn(check: str, seen: str, remedy: str) -> Finding:
    """It works, but may not for long or not for everyone."""
    return Finding(check, WARNING, seen, remedy)


def fail(check: str, seen: str, remedy: str) -> Finding:
    """It does not work, or must not stay as it is."""
    return Finding(check, FAILED, seen, remedy)


def unknown(check: str, why: str, remedy: str) -> Finding:
    """It could not be looked at."""
    return Finding(check, UNCHECKED, f"could not be checked: {why}", remedy)
