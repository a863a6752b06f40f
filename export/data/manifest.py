"""Manifest of a folder that `kennel prepare` made: its options, findings and files.

It is written last: a folder with a manifest is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from export.data.sources.files import Finding
from models.errors import DatasetError
from models.files import parse_json, write_atomically
from models.text import normal_name

MANIFEST_FILE: Final = "manifest.json"
PREPARE_PLAN_FILE: Final = ".plan.json"
"""The plan's file, present while a folder is unfinished; a crash is resumed from it."""

UNLABELLED: Final = "unlabelled"
"""The part of test photos without a label, if other test photos have one."""

FLAT_PARTS: Final = ("test", UNLABELLED)
"""Parts without class folders, ready for `kennel submit`."""

MANIFEST_KIND: Final = "prepared photos"
MANIFEST_SCHEMA: Final = 1


@dataclass(frozen=True)
class PreparedFile:
    """One file of a prepared folder.

    ``part`` is train, valid, test, unlabelled, sample/train or sample/valid; ``source`` is
    the path in the source as if its archives were unpacked; ``size`` is in bytes.
    """

    file: str
    part: str
    label: str
    group: str
    source: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A prepared folder: options, findings and files.

    ``labelled_by`` names the CSV and the columns that gave the labels; ``found`` is the
    summary of the source: layout, number of files, photos taken and files left out,
    folders taken as parts. Both are empty in manifests of older versions.
    """

    seed: int
    options: Mapping[str, Any]
    grouping: str
    labels: tuple[str, ...]
    findings: tuple[Finding, ...]
    files: tuple[PreparedFile, ...]
    labelled_by: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> list[PreparedFile]:
        """The files of one part."""
        return [file for file in self.files if file.part == name]

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of files per part and label; the label of flat parts is ""."""
        counts: dict[str, dict[str, int]] = {}
        for file in self.files:
            label = "" if file.part in FLAT_PARTS else file.label
            part = counts.setdefault(file.part, {})
            part[label] = part.get(label, 0) + 1
        return counts

    def content(self) -> dict[str, Any]:
        """The manifest as JSON, the files last."""
        # vars, not asdict: a deep copy of 60,000 files takes seconds.
        kind = {"kind": MANIFEST_KIND, "schema": MANIFEST_SCHEMA}
        findings = [vars(finding) for finding in self.findings]
        files = [vars(file) for file in self.files]
        return {**kind, **vars(self), "findings": findings, "files": files}

    def write(self, folder: Path) -> None:
        """Write the manifest into *folder*, which is complete now.

        Raises:
            OSError: the disk is full or read-only.
        """
        content = self.content()
        files = ",\n  ".join(json.dumps(file) for file in content.pop("files"))
        head = json.dumps(content, indent=1).removesuffix("\n}")
        text = f'{head},\n "files": [\n  {files}\n ]\n}}\n'
        write_atomically(folder / MANIFEST_FILE, text)


def parse_manifest(content: dict[str, Any]) -> Manifest:
    """A manifest from its JSON.

    Raises:
        ValueError, KeyError, TypeError: *content* is no manifest.
    """
    rest = dict(content)
    if rest.pop("kind") != MANIFEST_KIND or rest.pop("schema") != MANIFEST_SCHEMA:
        raise ValueError("another kind of file, or of another version")
    rest["labels"] = tuple(map(normal_name, rest["labels"]))
    rest["files"] = tuple(
        PreparedFile(**each | {"label": normal_name(each["label"])})
        for each in rest["files"]
    )
    rest["findings"] = tuple(
        Finding(**each | {"examples": tuple(each["examples"])})
        for each in rest["findings"]
    )
    return Manifest(**rest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared folder.

    Raises:
        DatasetError: `kennel prepare` has not finished, or the file is damaged.
    """
    if (folder / PREPARE_PLAN_FILE).exists():
        message = (
            f"kennel prepare has not finished {folder}: run the same command again"
        )
        raise DatasetError(message)
    path = folder / MANIFEST_FILE
    try:
        return parse_manifest(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} is no manifest of kennel prepare ({error}): prepare anew"
        raise DatasetError(message) from error


def check_prepared_files(folder: Path, files: Iterable[PreparedFile]) -> None:
    """Accept *folder* if its *files* exist with the sizes of the manifest.

    Raises:
        DatasetError: some do not; the message names the first.
    """
    wrong = [each for each in (_complaint(folder, file) for file in files) if each]
    if wrong:
        message = (
            f"{len(wrong)} files of {folder} differ from {MANIFEST_FILE}, the first: "
            f"{wrong[0]}. Put them back, or kennel prepare ... --force"
        )
        raise DatasetError(message)


def _complaint(folder: Path, file: PreparedFile) -> str:
    try:
        size = (folder / file.file).stat().st_size
    except OSError as error:
        return f"{file.file} ({error.strerror})"
    return "" if size == file.size else f"{file.file} ({size} bytes, not {file.size})"
