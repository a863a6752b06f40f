"""What may be said beside images and folders; None and what is left out is the default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlencode


class VersionChoice(TypedDict, total=False):
    """Which model, and which version of it; the default model's newest without."""

    model: str | None
    version: int | str | None
    label: str | None
    clip: float | str | None


class PredictOptions(VersionChoice, total=False):
    """The query of a prediction."""

    top: int | None


class JobOptions(VersionChoice, total=False):
    """The members of a job."""

    format: str | None
    on_unreadable: str | None
    max_unreadable: str | int | None
    positive: str | None
    priority: str | None
    manifest: str | Path | None
    sample_submission: str | Path | None


def query_path(path: str, query: Mapping[str, Any]) -> str:
    """*path* with those of *query* that are not None."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
