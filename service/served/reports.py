"""Where the training report of a published version lies, if the API can see it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from models.contract import REPORT_FILE
from models.errors import InvalidRequestError
from models.wire.config import check_model_name

REPORT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of a report: it brings its style and pictures along, and
has neither scripts nor anything from elsewhere."""


def find_report(models_dir: Path, name: str, version: int) -> Path | None:
    """The report of model *name*'s *version*, an HTML file inside *models_dir*.

    None: there is none, or there can be no such model or version.
    """
    try:
        folder = models_dir / check_model_name(name) / str(version)
        # Not Path.resolve: of links that lead in a circle it raises a RuntimeError.
        path = Path(os.path.realpath(folder / REPORT_FILE))
        inside = path.is_relative_to(os.path.realpath(models_dir))
        return path if version > 0 and inside and path.is_file() else None
    except (InvalidRequestError, OSError):
        return None
