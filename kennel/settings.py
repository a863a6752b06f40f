"""Where things are, from the environment: one place for the whole command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KennelSettings:
    """Folders of one installation; `KENNEL_HOME` moves them all."""

    home: Path
    models_dir: Path
    runs_dir: Path
    input_root: Path
    cache_dir: Path

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> KennelSettings:
        """Read KENNEL_HOME, MODELS_DIR, RUNS_DIR, INPUT_ROOT and CACHE_DIR."""
        home = Path(env.get("KENNEL_HOME") or "var").absolute()

        def folder(variable: str, default: str) -> Path:
            return Path(env.get(variable) or home / default).absolute()

        return cls(
            home=home,
            models_dir=folder("MODELS_DIR", "models"),
            runs_dir=folder("RUNS_DIR", "runs"),
            input_root=folder("INPUT_ROOT", "data"),
            cache_dir=folder("CACHE_DIR", "cache"),
        )
