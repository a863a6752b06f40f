"""The local model server's ``models.config``, kept in step with that of MODELS_DIR.

The published one names folders as containers see them; here they lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from export.publication.served import local_entries
from models.errors import InvalidRequestError
from models.storage import write_atomically
from models.wire.config import render_entries


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
        """Bring the file up to date.

        Raises:
            InvalidRequestError: the published configuration is broken.
            OSError: the disk is full or read-only.
        """
        text = render_entries(local_entries(self._models_dir))
        if text != self._text or not self.path.exists():
            write_atomically(self.path, text)
            self._text = text

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
