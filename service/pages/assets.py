"""Style sheets, scripts and the icon, at URLs that change when any of them does.

Every URL holds one digest of all files. Scripts import each other by relative path, so a
page never mixes two releases, and browsers may keep the files for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from flask import Blueprint, Response, abort, url_for

STATIC: Final = Path(__file__).with_name("static")

_MIME_TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Not the system's table: with nosniff, a wrong type there would stop the scripts."""

_FOR_EVER: Final = "public, max-age=31536000, immutable"
_REVALIDATE: Final = "no-cache"


@dataclass(frozen=True)
class Assets:
    """The files, in memory (some 60 kB), and one digest of them all."""

    files: Mapping[str, bytes]
    digest: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """All style sheets, scripts and icons below *folder*, by file name.

        Raises:
            OSError: a file cannot be read.
        """
        paths = (path for path in folder.rglob("*") if path.suffix in _MIME_TYPES)
        files = {path.name: path.read_bytes() for path in sorted(paths)}
        digest = hashlib.sha256()
        for name, content in files.items():
            digest.update(f"{name} {len(content)} ".encode() + content)
        return cls(files, digest.hexdigest()[:16])

    def blueprint(self) -> Blueprint:
        """The route, and ``asset`` for every template of the application."""
        routes = Blueprint("static", __name__)
        routes.add_url_rule("/static/<digest>/<name>", view_func=self.asset)
        routes.app_context_processor(self._names)
        return routes

    def asset(self, digest: str, name: str) -> Response:
        """One file; under another digest the current file, which is then not cached."""
        content = self.files.get(name)
        if content is None:
            abort(404)
        response = Response(content, mimetype=_MIME_TYPES[Path(name).suffix])
        current = digest == self.digest
        response.headers["Cache-Control"] = _FOR_EVER if current else _REVALIDATE
        return response

    def url(self, name: str) -> str:
        """The URL of the file *name*."""
        return url_for("static.asset", digest=self.digest, name=name)

    def _names(self) -> dict[str, Any]:
        return {"asset": self.url}
