"""How many photos of each label trained and validated the model."""

from __future__ import annotations

from export.report.content import ReportContent
from export.report.drawing.markup import Markup, fold, table
from export.report.drawing.numbers import count, percent, plural


def training_data_section(content: ReportContent) -> Markup:
    """A row for each label, a column for each part."""
    parts = content.counts
    if not parts:
        return Markup("")
    totals = {part: sum(counts.values()) for part, counts in parts.items()}
    everything = sum(totals.values())
    rows = []
    for label in content.photos.labels:
        each = [counts.get(label, 0) for counts in parts.values()]
        share = percent(sum(each) / everything) if everything else "-"
        rows.append([label, *map(count, each), count(sum(each)), share])
    foot = ["all", *map(count, totals.values()), count(everything), "100 %"]
    shown = table("Photos by label", ["label", *parts, "all", "share"], rows, [foot])
    named = f"{plural(everything, 'photo')} of {plural(len(rows), 'label')}"
    return fold(named, shown, len(rows))
