"""HTML in small pieces: tables that scroll in a box of their own, lists, details.

Text is escaped here; what is already markup is passed as `Markup`, so that the type
checker tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NewType

Markup = NewType("Markup", str)
"""Escaped HTML; never text from a user as it is."""


MOST_ENTRIES: Final = 40


def text(value: object) -> Markup:
    """*value* as text, escaped."""
    return Markup(escape(str(value)))


def join(parts: Iterable[Markup]) -> Markup:
    """The *parts* one after another."""
    return Markup("".join(parts))


def paragraph(*sentences: str, quiet: bool = False) -> Markup:
    """A paragraph of plain text; *quiet* for explanations."""
    kind = ' class="quiet"' if quiet else ""
    return Markup(f"<p{kind}>{text(' '.join(sentences))}</p>")


def heading(level: int, title: str) -> Markup:
    """A heading below the section's own, so level 3 or 4."""
    return Markup(f"<h{level}>{text(title)}</h{level}>")


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    foot: Sequence[Sequence[object]] = (),
) -> Markup:
    """A table whose first column names the row; columns of numbers align right."""
    kinds = [_kind([row[column] for row in rows]) for column in range(len(head))]
    columns = join(
        Markup(f'<th scope="col"{kind}>{text(cell)}</th>')
        for cell, kind in zip(head, kinds, strict=True)
    )
    body = join(_row(cells, kinds) for cells in rows)
    totals = join(_row(cells, kinds) for cells in foot)
    below = f"<tfoot>{totals}</tfoot>" if foot else ""
    return scroll_box(
        caption,
        Markup(
            f"<table><caption>{text(caption)}</caption><thead><tr>{columns}</tr>"
            f"</thead><tbody>{body}</tbody>{below}</table>"
        ),
    )


def scroll_box(name: str, content: Markup) -> Markup:
    """A box that scrolls sideways by itself, by keyboard too; the page never does."""
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(name)}">'
        f"{content}</div>"
    )


def fold(summary: str, content: Markup, entries: int) -> Markup:
    """*content*, folded away if it has so many *entries* that they hide what follows."""
    return details(summary, content) if entries > MOST_ENTRIES else content


def details(summary: str, content: Markup) -> Markup:
    """Content that is folded away until somebody asks for it."""
    return Markup(
        f"<details><summary>{text(summary)}</summary>{content}</details>",
    )


def panels(parts: Iterable[Markup]) -> Markup:
    """Figures side by side where there is room, below each other on a phone."""
    return Markup(f'<div class="panels">{join(parts)}</div>')


def _row(cells: Sequence[object], kinds: Sequence[str]) -> Markup:
    name, *values = cells
    columns = join(
        Markup(f"<td{kind}>{text(value)}</td>")
        for value, kind in zip(values, kinds[1:], strict=True)
    )
    return Markup(f'<tr><th scope="row">{text(name)}</th>{columns}</tr>')


def _kind(column: Sequence[object]) -> str:
    numbers = all(str(cell)[:1].isdigit() or str(cell) == "-" for cell in column)
    return "" if numbers else ' class="words"'
