"""What every layout gives: photos with labels, and photos to be predicted."""

from __future__ import annotations

from dataclasses import dataclass

from export.data.checks.findings import Finding
from export.data.sources.files import SourceFile


@dataclass(frozen=True)
class SourcePhoto:
    """A photo of a source; ``group`` is what must not be on both sides of a split."""

    file: SourceFile
    label: str = ""
    group: str = ""


@dataclass(frozen=True)
class Collection:
    """All photos of a source, and what was odd about where they lay.

    ``labelled_by`` says which CSV, and which of its columns, gave the labels.
    """

    layout: str
    labelled: tuple[SourcePhoto, ...]
    test: tuple[SourcePhoto, ...] = ()
    findings: tuple[Finding, ...] = ()
    labelled_by: str = ""
