"""The names of the models that we answer for.

They come from the settings and from the model server's own configuration file, which
is read again whenever it changes: a newly published model appears without a restart.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError
from models.storage import fingerprint_file
from models.wire.config import read_model_config

logger = logging.getLogger(__name__)


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
        self._config_file = config_file
        self._look_seconds = look_seconds
        self._next_look = 0.0
        self._lock = threading.Lock()
        self._seen = _fingerprint(config_file)
        self._names = self._read()

    def __call__(self) -> tuple[str, ...]:
        """The names now; while the file is broken, the last good ones."""
        now = time.monotonic()
        if now < self._next_look:
            return self._names
        self._next_look = now + self._look_seconds
        fingerprint = _fingerprint(self._config_file)
        with self._lock:
            if fingerprint != self._seen:
                self._seen = fingerprint
                self._reread()
            return self._names

    def _reread(self) -> None:
        try:
            self._names = self._read()
        except InvalidRequestError as error:
            logger.warning("model names stay as they were: %s", error)

    def _read(self) -> tuple[str, ...]:
        if self._seen is None or self._config_file is None:
            return self._fixed
        configured = [entry.name for entry in read_model_config(self._config_file)]
        return tuple(dict.fromkeys([*self._fixed, *configured]))


def _fingerprint(path: Path | None) -> tuple[int, int, int] | None:
    return None if path is None else fingerprint_file(path)
