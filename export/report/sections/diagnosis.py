"""What is wrong with the run, how one sees it, and the remedies in their order."""

from __future__ import annotations

from export.report.content import ReportContent
from export.report.drawing.markup import Markup, heading, join, paragraph, text


def diagnosis_section(content: ReportContent) -> Markup:
    """A heading, the evidence and an ordered list of remedies; empty without a diagnosis."""
    found = content.diagnosis
    if found is None:
        return Markup("")
    evidence = f"{found.evidence[:1].upper()}{found.evidence[1:]}."
    parts = [heading(3, found.kind.capitalize()), paragraph(evidence)]
    if found.remedies:
        remedies = join(Markup(f"<li>{text(each)}</li>") for each in found.remedies)
        parts += [paragraph("Remedies, best first:"), Markup(f"<ol>{remedies}</ol>")]
    return join(parts)
