"""Photos as training varied them: would a person still give them the same label."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from export.report.content import ReportContent
from export.report.drawing.markup import Markup, join, paragraph
from export.report.drawing.pictures import strip


def augmentation_section(content: ReportContent) -> Markup:
    """A row for each photo, a column for each variation of it."""
    grid = content.augmentations
    if grid is None or not grid.size:
        return Markup("")
    note = (
        "Each row is one training photo as it is varied, anew in every epoch. Whatever "
        "makes a photo look like another label should not be here."
    )
    rows = join(_row(number, row) for number, row in enumerate(grid, start=1))
    return Markup(paragraph(note, quiet=True) + rows)


def _row(number: int, pictures: NDArray[Any]) -> Markup:
    # Every other pixel of large ones: a preview needs no more.
    step = -(-max(pictures.shape[1:3]) // 160)
    small = [picture[::step, ::step] for picture in pictures]
    return strip(small, f"Training photo {number}, varied {len(small)} times")
