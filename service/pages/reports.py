"""The training report of a version, as the page that it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask import Response, send_file

from models.errors import NotFoundError


@dataclass(frozen=True)
class Reports:
    """Where the reports lie.

    Attributes:
        find: the file for a model's version, None if there is none.
        policy: the Content-Security-Policy that a report needs to be shown.
    """

    find: Callable[[str, int], Path | None]
    policy: str

    def has(self, model: str, version: int) -> bool:
        """Whether that version came with a report."""
        return self.find(model, version) is not None

    def send(self, model: str, version: int) -> Response:
        """The report.

        Raises:
            NotFoundError: that version came with none.
        """
        path = self.find(model, version)
        if path is None:
            message = (
                f"model {model!r} version {version} came without a training report: "
                "export it again"
            )
            raise NotFoundError(message, code="report_not_found")
        response = send_file(path, mimetype="text/html")
        response.headers["Content-Security-Policy"] = self.policy
        return response
