"""The names of the models that we answer for.

They come from the settings and from the model server's own configuration file, which
is read again whenever it changes: a newly published model appears without a restart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.files import WatchedFile
from models.wire.config import read_model_config

LOOK_SECONDS: Final = 0.5
"""A look at the file lets go of the interpreter's lock: not in every request."""


class ModelNames:
    """The known names, in order; thread-safe; now and then it looks at the file again."""

    def __init__(
        self,
        fixed: tuple[str, ...],
        config_file: Path | None = None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Know *fixed* and those in *config_file*, which need not exist yet.

        Looks lie *look_seconds* apart.

        Raises:
            InvalidRequestError: the file is not a model server configuration.
        """
        self._fixed = fixed
        self._was_there = False
        self._configured = (
            WatchedFile(config_file, self._read, "model names", look_seconds)
            if config_file
            else None
        )

    def __call__(self) -> tuple[str, ...]:
        """The names now; while the file is broken or gone, the last good ones."""
        if self._configured is None:
            return self._fixed
        return tuple(dict.fromkeys([*self._fixed, *self._configured()]))

    def _read(self, config_file: Path) -> tuple[str, ...]:
        if not self._was_there and not config_file.exists():
            return ()
        names = tuple(entry.name for entry in read_model_config(config_file))
        self._was_there = True
        return names
