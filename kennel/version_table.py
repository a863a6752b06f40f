"""Published versions as a table for people and as JSON for scripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Final

from export.publication.published import ANSWERS, LOADED, ON_TRIAL, PublishedVersion
from kennel.job_report import aligned
from models.errors import KennelError, NotFoundError
from models.wire.client import ModelServerClient
from models.wire.messages import AVAILABLE

_ASK_SECONDS: Final = 1.0

_HEADINGS: Final = (
    *("model", "version", "state", "labels"),
    *("accuracy", "log loss", "recipe", "created", "size", "default"),
)


def render_table(
    versions: Sequence[PublishedVersion], default: str | None = None
) -> str:
    """A line for each of *versions* under a line of headings, columns aligned.

    The figures are those of the card: on validation photos, calibrated, not clipped.
    The last column marks the model *default*, which answers requests that name none.
    """
    return aligned([_HEADINGS, *(_row(each, default) for each in versions)])


def as_json(version: PublishedVersion, default: str | None = None) -> dict[str, Any]:
    """The card's members, and beside them the state; a broken version has no card's.

    ``is_default`` says whether it is of the model *default*.
    """
    found = dataclasses.asdict(version)
    card = found.pop("card") or {}
    return {**card, **found, "is_default": version.name == default}


def format_size(size_bytes: int) -> str:
    """A number of bytes as people say it: 812 B, 14.2 MB."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def versions_away(target: str, versions: Sequence[PublishedVersion]) -> Iterator[str]:
    """A sentence for each of *versions* that the server at *target* has not loaded.

    Of those only that it should have loaded; none, if nothing answers there within a
    second.

    Raises:
        InvalidRequestError: *target* is no address.
    """
    with ModelServerClient(target, timeout_seconds=_ASK_SECONDS) as client:
        for name in dict.fromkeys(each.name for each in versions):
            try:
                found = {each.version: each for each in client.versions(name)}
            except NotFoundError:
                continue
            except KennelError:
                return
            for each in versions:
                status = found.get(each.version) if each.name == name else None
                if status is None or each.state not in {ANSWERS, LOADED, ON_TRIAL}:
                    continue
                if status.state != AVAILABLE:
                    said = status.problem or f"version {each.version} is {status.state}"
                    yield f"{name}: the model server says: {said} (kennel doctor)"


def _row(version: PublishedVersion, default: str | None) -> tuple[str, ...]:
    card = version.card
    figures = card.metrics.get("validation", {}) if card else {}
    return (
        *(version.name, str(version.version), version.state),
        ", ".join(version.version_labels) or "-",
        _figure(figures.get("accuracy")),
        _figure(figures.get("log_loss_calibrated")),
        card.recipe if card else "-",
        card.created if card else "-",
        format_size(version.size_bytes),
        "yes" if version.name == default else "-",
    )


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"
