"""The local model server's ``models.config``, kept in step with that of MODELS_DIR.

The published one names folders as containers see them; here they lie elsewhere. If that one
is lost, the local one remembers which model comes first, rollbacks and labels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from export.publication.served import CONFIG_FILE, local_entries, restore_served
from kennel.default_model import describe_models, find_default
from models.errors import InvalidRequestError
from models.files import write_atomically
from models.wire.config import ModelEntry, read_model_config, render_entries


class LocalModelConfig:
    """A file that follows what is served from a folder of models; one owner."""

    def __init__(
        self, models_dir: Path, path: Path, echo: Callable[[str], None]
    ) -> None:
        """Write to *path* what is served from *models_dir*; tell *echo* of trouble."""
        self.path = path
        self._models_dir = models_dir
        self._echo = echo
        self._text = ""
        self._trouble = ""

    def write(self) -> None:
        """Bring the file up to date; a change is told.

        Raises:
            InvalidRequestError: the published configuration is broken.
            OSError: the disk is full or read-only.
        """
        remembered = self._remembered()
        text = render_entries(local_entries(self._models_dir, remembered))
        if text != self._text or not self.path.exists():
            write_atomically(self.path, text)
            self._text = text
            self._tell()
        # A folder of models that is read-only is served all the same.
        with suppress(OSError):
            if restore_served(self._models_dir, remembered) and remembered:
                self._echo(f"{self._models_dir / CONFIG_FILE} was lost: written anew")

    def follow(self) -> None:
        """Bring the file up to date; while that cannot be, it stays as it was."""
        try:
            self.write()
        except (InvalidRequestError, OSError) as error:
            if str(error) != self._trouble:
                self._echo(f"{error}; what is served stays as it was")
            self._trouble = str(error)
        else:
            self._trouble = ""

    def _remembered(self) -> list[ModelEntry]:
        if (self._models_dir / CONFIG_FILE).exists() or not self.path.exists():
            return []
        try:
            return read_model_config(self.path)
        except InvalidRequestError:
            return []  # damaged; it is only a copy

    def _tell(self) -> None:
        default = find_default(os.environ, self._models_dir)
        if default.served:
            self._echo(f"kennel       | serves {describe_models(self._models_dir)}")
        self._echo(f"kennel       | {default.sentence()}")
