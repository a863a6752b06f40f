"""Kennel's version, for processes that run from a folder and were never installed."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
"""pyproject.toml takes it from here."""
