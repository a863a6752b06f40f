"""The model card as a table: what the model says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from export.report.content import ReportContent
from export.report.drawing.markup import Markup, paragraph, table

LONGEST: Final = 16
"""Lists with more entries are counted, not written out."""


def card_section(content: ReportContent) -> Markup:
    """A row for each fact; what lies inside another is named with it."""
    rows = list(_facts("", content.card))
    if not rows:
        return Markup("")
    note = "The card is published inside the model and read by whoever serves it."
    return Markup(
        paragraph(note, quiet=True) + table("Model card", ["fact", "value"], rows)
    )


def _facts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            words = str(key).replace("_", " ")
            yield from _facts(f"{name}, {words}" if name else words, inner)
    elif value not in ("", None) or name == "clip bound":
        yield name, _written(value)


def _written(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    if any(isinstance(each, Mapping | list | tuple) for each in value):
        return f"{len(value)} rows"
    if len(value) > LONGEST:
        return f"{len(value)} entries"
    return ", ".join(_written(each) for each in value)
