"""What is wrong with the run, how one sees it, and the cures in their order."""

from __future__ import annotations

from export.report.content import ReportContent
from export.report.drawing.markup import Markup, heading, join, paragraph, text


def diagnosis_section(content: ReportContent) -> Markup:
    """A heading, the evidence and an ordered list for each finding."""
    parts: list[Markup] = []
    for found in content.diagnoses:
        cures = join(Markup(f"<li>{text(cure)}</li>") for cure in found.cures)
        evidence = (
            f"{found.evidence[:1].upper()}{found.evidence[1:]}. Cures, best first:"
        )
        parts += [
            heading(3, str(found.kind).capitalize()),
            paragraph(evidence),
            Markup(f"<ol>{cures}</ol>"),
        ]
    return join(parts)
