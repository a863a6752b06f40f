"""Carrying out a plan, as often as it takes.

Every step is harmless when done again, so after a crash the same steps are simply done
once more. The manifest is written when every file is on the disk, and only then is what
was there before removed, as far as the new manifest has it.
"""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from export.data.manifest import (
    MANIFEST_FILE,
    PLAN_FILE,
    UNLABELLED,
    PreparedFile,
)
from export.data.preparation.placing import Step, place
from export.data.preparation.plan import Plan
from export.data.preparation.space import full_disk
from export.data.sources.archives import Archives
from export.data.threads import map_files
from export.progress import Progress
from models.files import TEMPORARY_PREFIX, hash_file, write_atomically
from models.text import normal_name

TRUTH_FILE: Final = "truth.csv"
MADE: Final = (
    *("train", "valid", "test", UNLABELLED, "sample"),
    *(TRUTH_FILE, MANIFEST_FILE),
)
"""What stands in a prepared folder."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def build(dest: Path, plan: Plan, archives: Archives, progress: Progress) -> None:
    """Make *dest* what its written *plan* says, from whatever state it is in.

    Raises:
        DatasetError: the disk is full, or an original has gone; the same command goes on.
    """
    _remove_temporaries(dest)
    if not plan.retired:
        plan = _retire(dest, plan)
    steps = list(plan.steps(dest))
    for folder in sorted({step.target.parent for step in steps}):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        _place_all(steps, archives, progress)
        _write_truth(dest, plan.manifest.part("test"), plan.manifest.labels)
        # One flush for all files: one for each would take minutes.
        os.sync()
        plan.manifest.write(dest)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        missing = sum(step.size for step in steps if not step.target.exists())
        raise full_disk(dest, missing) from error
    _clear_previous(dest, plan)
    (dest / PLAN_FILE).unlink()


def _place_all(steps: list[Step], archives: Archives, progress: Progress) -> None:
    taken = {step.target for step in steps}
    originals = [step for step in steps if step.origin.location not in taken]
    samples = [step for step in steps if step.origin.location in taken]
    done = 0
    for part in (originals, samples):
        for _ in map_files(lambda step: place(step, archives), part):
            done += 1
            progress("place photos", done, len(steps))


def _retire(dest: Path, plan: Plan) -> Plan:
    previous = dest / plan.previous
    previous.mkdir(exist_ok=True)
    for name in MADE:
        if (dest / name).exists():
            (dest / name).rename(previous / name)
    retired = replace(plan, retired=True)
    retired.write(dest)
    return retired


def _clear_previous(dest: Path, plan: Plan) -> None:
    # Only what the new manifest has as well goes; a stranger's file stays for its owner.
    if not plan.previous or not (dest / plan.previous).exists():
        return
    previous = dest / plan.previous
    kept = {file.sha256 for file in plan.manifest.files}
    files = [path for path in previous.rglob("*") if path.is_file()]
    hashes = map_files(hash_file, files)
    for path, sha256 in zip(files, hashes, strict=True):
        made = path.parent == previous and path.name in {MANIFEST_FILE, TRUTH_FILE}
        if made or sha256 in kept:
            path.unlink()
    folders = [path for path in previous.rglob("*") if path.is_dir()]
    for folder in [*sorted(folders, reverse=True), previous]:
        if not any(folder.iterdir()):
            folder.rmdir()


def _write_truth(
    dest: Path, test: Sequence[PreparedFile], labels: Sequence[str]
) -> None:
    if not test or not all(file.label for file in test):
        return
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(_truth_rows(test, labels))
    write_atomically(dest / TRUTH_FILE, stream.getvalue())


def _truth_rows(
    test: Sequence[PreparedFile], labels: Sequence[str]
) -> Iterator[tuple[str, object]]:
    # As submissions are: two classes have one column, more have one each.
    binary = len(labels) == 2
    yield ("id" if binary else "img", "label")
    for file in test:
        name = Path(file.file)
        if binary:
            yield normal_name(name.stem), labels.index(file.label)
        else:
            yield normal_name(name.name), file.label


def _remove_temporaries(dest: Path) -> None:
    for path in dest.rglob(f"{TEMPORARY_PREFIX}*"):
        if path.is_file():
            path.unlink()
