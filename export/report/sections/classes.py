"""Precision, recall and F1 of every label."""

from __future__ import annotations

import numpy as np

from export.evaluation.metrics import per_class
from export.report.content import ReportContent
from export.report.drawing.markup import Markup, fold, paragraph, table
from export.report.drawing.numbers import count, percent, plural


def classes_section(content: ReportContent) -> Markup:
    """A row for each label, and their plain means."""
    photos = content.photos
    found = per_class(photos.probabilities, photos.classes, photos.labels)
    rows = [
        [
            each.label,
            percent(each.precision),
            percent(each.recall),
            percent(each.f1),
            count(each.support),
        ]
        for each in found
    ]
    present = [each for each in found if each.support]
    means = [
        percent(float(np.mean([getattr(each, name) for each in present])))
        for name in ("precision", "recall", "f1")
    ]
    foot = ["mean of labels", *means, count(sum(each.support for each in found))]
    note = (
        "Precision: of the photos called so, the share that is so. Recall: of the "
        "photos that are so, the share called so. F1: their harmonic mean. The mean "
        "counts every label alike, however many photos it has."
    )
    head = ["label", "precision", "recall", "F1", "photos"]
    shown = table("Precision, recall and F1 by label", head, rows, [foot])
    named = f"All {plural(len(rows), 'label')}"
    return Markup(paragraph(note, quiet=True) + fold(named, shown, len(rows)))
