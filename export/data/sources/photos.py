"""What every layout gives: photos with labels, and photos to be predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from export.data.checks.findings import Finding
from export.data.sources.files import SourceFile

GIVEN_GROUPING: Final = "folders train and valid"
"""What is said of a split that the source itself has."""


@dataclass(frozen=True)
class SourcePhoto:
    """A photo of a source; ``group`` is what must not be on both sides of a split."""

    file: SourceFile
    label: str = ""
    group: str = ""


@dataclass(frozen=True)
class Collection:
    """All photos of a source, and what was odd about where they lay.

    Attributes:
        layout: flat, classes, csv or idx.
        labelled: photos to train on; to be split unless there are ``valid`` ones.
        valid: photos that the source itself sets apart for validation.
        test: photos to predict; those with a label can be scored.
        labelled_by: which CSV, and which of its columns, gave the labels.
        parts: folders of the source and the part that each is: train, valid or test.
        left: photos that were not taken, by path, and why.
        files: how many files the source holds.
        left_out: how many of them, photos or not, were not taken.
    """

    layout: str
    labelled: tuple[SourcePhoto, ...]
    test: tuple[SourcePhoto, ...] = ()
    findings: tuple[Finding, ...] = ()
    labelled_by: str = ""
    valid: tuple[SourcePhoto, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    files: int = 0
    left_out: int = 0

    @property
    def photos(self) -> tuple[SourcePhoto, ...]:
        """All photos that were taken."""
        return (*self.labelled, *self.valid, *self.test)

    def summary(self, taken: int) -> dict[str, Any]:
        """What was found, as JSON, if *taken* of the photos can be read."""
        return {
            "layout": self.layout,
            "files": self.files,
            "taken": taken,
            "left_out": self.left_out + len(self.photos) - taken,
            "parts": dict(sorted(self.parts.items())),
        }
