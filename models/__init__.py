"""What training and serving must agree on; it imports no other package of the project."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
"""pyproject.toml takes it from here."""
