"""The confusion matrix: what is called what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from export.evaluation.metrics import confusion_matrix
from export.report.content import ReportContent
from export.report.drawing.markup import (
    Markup,
    fold,
    join,
    paragraph,
    scroll_box,
    table,
    text,
)
from export.report.drawing.numbers import count, percent, plural

MOST_CONFUSIONS: Final = 8


def confusion_section(content: ReportContent) -> Markup:
    """Counts and row percentages, and the confusions that happen most."""
    photos = content.photos
    matrix = confusion_matrix(photos.probabilities, photos.classes)
    note = (
        "A row is what photos are, a column what they are called; percentages are of "
        "the row. The diagonal is right, everything else wrong."
    )
    shown = scroll_box("Confusion matrix", _matrix(matrix, photos.labels))
    named = f"The whole matrix of {plural(len(matrix), 'label')}"
    return Markup(
        paragraph(note, quiet=True)
        + fold(named, shown, len(matrix))
        + _most_frequent(matrix, photos.labels)
    )


def _matrix(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    # With many labels the column heads stand upright, and every word costs height.
    many, before = (" many", "") if len(labels) > 4 else ("", "called ")
    columns = join(
        Markup(f'<th scope="col"><span>{before}{text(label)}</span></th>')
        for label in labels
    )
    rows = join(_row(number, row, labels) for number, row in enumerate(matrix))
    return Markup(
        f'<table class="confusion{many}"><caption>Photos by what they are and what '
        f'they are called</caption><thead><tr><th scope="col">truth</th>{columns}'
        f'<th scope="col">photos</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _row(true: int, row: Sequence[int], labels: Sequence[str]) -> Markup:
    total = sum(row)
    cells = join(
        _cell(number, total, right=called == true) for called, number in enumerate(row)
    )
    return Markup(
        f'<tr><th scope="row">{text(labels[true])}</th>{cells}<td>{count(total)}</td>'
        "</tr>"
    )


def _cell(number: int, total: int, *, right: bool) -> Markup:
    if not number:
        return Markup("<td>·</td>")
    share = number / total
    kind = "right" if right else "wrong"
    return Markup(
        f'<td class="{kind}" style="--share:{share:.3f}">{percent(share)}'
        f"<small>{count(number)}</small></td>"
    )


def _most_frequent(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    counts = np.array(matrix)
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(labels)) for place in order]
    rows = [
        [
            f"{labels[true]} called {labels[called]}",
            count(int(counts[true, called])),
            percent(counts[true, called] / totals[true]),
        ]
        for true, called in pairs
        if counts[true, called]
    ]
    if len(labels) < 3 or not rows:
        return Markup("")
    return table(
        "Confusions that happen most", ["confusion", "photos", "share of label"], rows
    )
