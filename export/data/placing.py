"""Placing photos in the destination of `kennel prepare`: links, copies or moves.

The plan is on disk before the first file moves, and each step can be repeated, so a crash
at any moment loses no photo. Free disk space is checked first.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from export.data.manifest import (
    MANIFEST_FILE,
    PREPARE_PLAN_FILE,
    UNLABELLED,
    Manifest,
    PreparedFile,
    parse_manifest,
)
from export.data.sources.archives import Archives
from export.data.sources.files import FileOrigin, map_files
from export.data.sources.reading import read_encoded
from export.progress import Progress
from models.errors import DatasetError, InvalidImageError
from models.files import (
    DISK_FULL_ERRORS,
    TEMPORARY_PREFIX,
    hash_file,
    parse_json,
    sync_path,
    temporary_beside,
    write_atomically,
)
from models.text import normal_name

TRUTH_FILE: Final = "truth.csv"
_PREPARED_NAMES: Final = (
    *("train", "valid", "test", UNLABELLED, "sample"),
    *(TRUTH_FILE, MANIFEST_FILE),
)
"""Everything that a prepared folder may hold."""

_NO_LINKS: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES}
)
_BLOCK: Final = 4096
"""Bytes; a file occupies whole blocks."""


@dataclass(frozen=True)
class Step:
    """One file to place: ``transfer`` is link, copy or move; size in bytes."""

    target: Path
    origin: FileOrigin
    transfer: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Plan:
    """The manifest of the destination, and the origin of each of its files.

    ``previous`` names a folder in the destination that keeps the old files while it is
    rebuilt; ``retired``: all old files are in it.
    """

    manifest: Manifest
    origins: tuple[FileOrigin, ...]
    transfer: str
    previous: str = ""
    retired: bool = True

    def steps(self, dest: Path) -> Iterator[Step]:
        """One step for each file; samples come after the files that they copy."""
        for file, origin in zip(self.manifest.files, self.origins, strict=True):
            yield Step(
                target=dest / file.file,
                origin=origin,
                transfer=self._transfer(file.part, dest, origin),
                size=file.size,
                sha256=file.sha256,
            )

    def write(self, dest: Path) -> None:
        """Write the plan into *dest*; `read_prepare_plan` reads it.

        Raises:
            OSError: the disk is full or read-only.
        """
        content = {
            "manifest": self.manifest.content(),
            "origins": [[str(x.location), *x.members] for x in self.origins],
            "transfer": self.transfer,
            "previous": self.previous,
            "retired": self.retired,
        }
        write_atomically(dest / PREPARE_PLAN_FILE, json.dumps(content))

    def _transfer(self, part: str, dest: Path, origin: FileOrigin) -> str:
        if part.startswith("sample/"):
            return "copy" if self.transfer == "copy" else "link"
        kept = self.previous and origin.location.is_relative_to(dest / self.previous)
        return "move" if kept else self.transfer


def read_prepare_plan(dest: Path) -> Plan | None:
    """The plan of *dest*, or None if nothing there is unfinished.

    Raises:
        DatasetError: the plan's file is damaged.
    """
    path = dest / PREPARE_PLAN_FILE
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        origins = [FileOrigin(Path(x[0]), tuple(x[1:])) for x in content.pop("origins")]
        manifest = parse_manifest(content.pop("manifest"))
        return Plan(manifest=manifest, origins=tuple(origins), **content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} cannot be read ({error}): use another destination"
        raise DatasetError(message) from error


def check_space(dest: Path, plan: Plan) -> None:
    """Accept *dest*, which need not exist yet, if its disk has room for *plan*.

    Raises:
        DatasetError: it has not; the message names the folder and the bytes.
    """
    disk = next(each for each in (dest, *dest.parents) if each.exists())
    device = disk.stat().st_dev
    needed = sum(_bytes_needed(step, device) for step in plan.steps(dest))
    if needed > shutil.disk_usage(disk).free:
        raise _full_disk(dest, needed)


def build(dest: Path, plan: Plan, archives: Archives, progress: Progress) -> None:
    """Complete *dest* by its written *plan*, from any state that a crash left.

    Raises:
        DatasetError: the disk is full, or an original is gone; the same command resumes.
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
        # One flush for all files: one per file would take minutes.
        os.sync()
        plan.manifest.write(dest)
    except OSError as error:
        if error.errno not in DISK_FULL_ERRORS:
            raise
        missing = sum(step.size for step in steps if not step.target.exists())
        raise _full_disk(dest, missing) from error
    _remove_previous(dest, plan)
    (dest / PREPARE_PLAN_FILE).unlink()


def _bytes_needed(step: Step, device: int) -> int:
    in_place = not step.origin.members and step.transfer != "copy"
    if in_place:
        try:
            if step.origin.location.stat().st_dev == device:
                return 0
        except FileNotFoundError:  # a sample: its original is placed first
            return 0
    return -(-step.size // _BLOCK) * _BLOCK


def _full_disk(dest: Path, needed: int) -> DatasetError:
    return DatasetError(
        f"no room in {dest}: {needed:,} bytes more are needed. Free them, or use --link "
        "on the source's disk; then run the same command again"
    )


def _remove_temporaries(dest: Path) -> None:
    for path in dest.rglob(f"{TEMPORARY_PREFIX}*"):
        if path.is_file():
            path.unlink()


def _retire(dest: Path, plan: Plan) -> Plan:
    previous = dest / plan.previous
    previous.mkdir(exist_ok=True)
    for name in _PREPARED_NAMES:
        if (dest / name).exists():
            (dest / name).rename(previous / name)
    retired = replace(plan, retired=True)
    retired.write(dest)
    return retired


def _place_all(steps: list[Step], archives: Archives, progress: Progress) -> None:
    taken = {step.target for step in steps}
    originals = [step for step in steps if step.origin.location not in taken]
    samples = [step for step in steps if step.origin.location in taken]
    done = 0
    for part in (originals, samples):
        for _ in map_files(lambda step: _place(step, archives), part):
            done += 1
            progress("place photos", done, len(steps))


def _place(step: Step, archives: Archives) -> None:
    original = step.origin.location
    if _is_in_place(step):
        if step.transfer == "move" and not step.origin.members and original.exists():
            _remove_original(step)
        return
    if step.origin.members:
        _write(step, archives)
        return
    _check_original(step)
    if step.transfer == "move":
        _move(step)
    elif step.transfer == "link":
        _link(step)
    else:
        _copy(step)


def _is_in_place(step: Step) -> bool:
    try:
        size = step.target.lstat().st_size
    except FileNotFoundError:
        return False
    if size != step.size:
        message = f"{step.target} is in the way: remove it, or choose another folder"
        raise DatasetError(message)
    return True


def _check_original(step: Step) -> None:
    original = step.origin.location
    try:
        size = original.lstat().st_size
    except FileNotFoundError as error:
        message = (
            f"{original} is gone since it was checked, and {step.target} is not there: "
            "put it back and run the same command again"
        )
        raise DatasetError(message) from error
    if size != step.size:
        message = (
            f"{original} has {size:,} bytes and had {step.size:,} when it was checked: "
            "leave the source alone and use --force"
        )
        raise DatasetError(message)


def _move(step: Step) -> None:
    try:
        step.origin.location.rename(step.target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(step, durable=True)
        step.origin.location.unlink()


def _remove_original(step: Step) -> None:
    # A crash between copy and removal leaves both; equal sizes alone prove nothing.
    original = step.origin.location
    if not original.samefile(step.target):
        content = step.target.read_bytes()
        if hashlib.sha256(content).hexdigest() != step.sha256:
            message = f"{step.target} differs from {original}: keep one of them"
            raise DatasetError(message)
        sync_path(step.target)
    original.unlink()


def _link(step: Step) -> None:
    try:
        os.link(step.origin.location, step.target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(step)


def _copy(step: Step, *, durable: bool = False) -> None:
    temporary = temporary_beside(step.target)
    try:
        shutil.copyfile(step.origin.location, temporary, follow_symlinks=False)
        if durable:
            sync_path(temporary)
        temporary.rename(step.target)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_path(step.target.parent)


def _write(step: Step, archives: Archives) -> None:
    try:
        content = read_encoded(step.origin, archives)
    except InvalidImageError as error:
        message = f"{step.origin.location}: {error}; was it replaced meanwhile?"
        raise DatasetError(message) from error
    if hashlib.sha256(content).hexdigest() != step.sha256:
        message = f"{step.origin.location} has changed since it was checked: --force"
        raise DatasetError(message)
    temporary = temporary_beside(step.target)
    try:
        temporary.write_bytes(content)
        temporary.rename(step.target)
    finally:
        temporary.unlink(missing_ok=True)


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
    # Like submissions: id and 0 or 1 for two classes, img and name for more.
    binary = len(labels) == 2
    yield ("id" if binary else "img", "label")
    for file in test:
        name = Path(file.file)
        if binary:
            yield normal_name(name.stem), labels.index(file.label)
        else:
            yield normal_name(name.name), file.label


def _remove_previous(dest: Path, plan: Plan) -> None:
    # Remove only what the new manifest has too; files of others stay.
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
