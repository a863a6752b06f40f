"""An environment that tells which of its variables are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AskedVariables(dict[str, str]):
    """A copy of an environment for the ``from_env`` of settings.

    Attributes:
        names: the variables that were looked for, set or not.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        """Start with the variables of *env*."""
        super().__init__(env)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """The variable *name*, which is remembered."""
        self.names.add(name)
        return super().get(name, default)
