"""The command line's settings: its folders, read from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.environment import read_input_root


@dataclass(frozen=True)
class KennelSettings:
    """Folders of one installation; `KENNEL_HOME` moves them all."""

    home: Path
    models_dir: Path
    runs_dir: Path
    input_root: Path
    cache_dir: Path
    input_url: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> KennelSettings:
        """Read KENNEL_HOME, MODELS_DIR, RUNS_DIR, INPUT_ROOT and CACHE_DIR.

        Raises:
            InvalidRequestError: INPUT_ROOT is a URL that cannot be used.
        """
        home = Path(env.get("KENNEL_HOME") or "var").absolute()

        def folder(variable: str, default: str) -> Path:
            return Path(env.get(variable) or home / default).absolute()

        input_root, input_url = read_input_root(env, home / "data")
        return cls(
            home=home,
            models_dir=folder("MODELS_DIR", "models"),
            runs_dir=folder("RUNS_DIR", "runs"),
            input_root=input_root,
            cache_dir=folder("CACHE_DIR", "cache"),
            input_url=input_url,
        )

    @property
    def inputs(self) -> Path | str:
        """The root of the folders of photos: a folder, or a URL of object storage."""
        return self.input_url or self.input_root
