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
    one = len(parts) == 1
    rows = []
    for label in content.photos.labels:
        each = [counts.get(label, 0) for counts in parts.values()]
        share = percent(sum(each) / everything) if everything else "-"
        both = [] if one else [count(sum(each))]
        rows.append([label, *map(count, each), *both, share])
    both = [] if one else [count(everything)]
    foot = ["all", *map(count, totals.values()), *both, "100 %"]
    head = ["label", *parts, *([] if one else ["all"]), "share"]
    shown = table("Photos by label", head, rows, [foot])
    named = f"{plural(everything, 'photo')} of {plural(len(rows), 'label')}"
    return fold(named, shown, len(rows))
