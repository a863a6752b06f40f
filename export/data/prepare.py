"""`kennel prepare`: from a source to a folder that is split, checked and complete.

The steps are: list, check, plan, write. Nothing is written before the whole source has
been read, and equal options give equal folders.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from export.data.checks import (
    ScannedPhoto,
    UnreadablePhoto,
    check_different,
    check_labels,
    check_names,
    check_utf8,
    check_varied,
    duplicate_groups,
    find_duplicates,
    scan_photos,
)
from export.data.layouts.collect import SourceOptions, collect_photos
from export.data.manifest import (
    FLAT_PARTS,
    MANIFEST_FILE,
    PREPARE_PLAN_FILE,
    UNLABELLED,
    Manifest,
    PreparedFile,
    check_prepared_files,
    read_manifest,
)
from export.data.placing import Plan, build, check_space, read_prepare_plan
from export.data.sources.archives import Archives
from export.data.sources.files import (
    GIVEN_GROUPING,
    CollectedPhotos,
    FileOrigin,
    Finding,
    Listing,
    SourceFile,
    SourcePhoto,
    as_findings,
    sort_files,
)
from export.data.sources.reading import list_source, read_encoded
from export.data.splits import allot, choose_groups, choose_items, join_groups
from export.progress import Progress
from models.errors import (
    ConflictError,
    DatasetError,
    InvalidRequestError,
    NotFoundError,
    quoted,
    quoted_names,
)
from models.files import TEMPORARY_PREFIX, locked_folder

_MAX_NAME_BYTES: Final = 180  # a temporary name is longer, and 255 is the limit
_Placement = tuple[PreparedFile, FileOrigin]


@dataclass(frozen=True)
class Amount:
    """Number of photos for validation: a ``count``, or a ``share`` of all (0..1)."""

    count: int | None = None
    share: float | None = None

    def __str__(self) -> str:
        return str(self.share if self.count is None else self.count)


@dataclass(frozen=True)
class PrepareRequest:
    """Source, destination and options; both paths are absolute.

    ``sample_train`` and ``sample_valid`` are counts, limited by the photos there are.
    ``transfer`` is link, copy or move.
    """

    source: Path
    dest: Path
    source_options: SourceOptions = field(default_factory=SourceOptions)
    valid: Amount = field(default_factory=lambda: Amount(share=0.2))
    sample_train: int = 200
    sample_valid: int = 50
    seed: int = 42
    stratify: bool = True
    transfer: str = "link"
    strict: bool = False
    force: bool = False

    def options(self) -> dict[str, Any]:
        """Everything that determines the result, as JSON."""
        source = self.source_options
        columns = {
            "photo_column": source.photo_column,
            "label_column": source.label_column,
        }
        return {
            "source": str(self.source),
            "layout": source.layout,
            "csv": str(source.csv) if source.csv else None,
            "group_by": source.group_by,
            "names": list(source.labels),
            "encoding": source.encoding,
            "valid": str(self.valid),
            "sample_train": self.sample_train,
            "sample_valid": self.sample_valid,
            "seed": self.seed,
            "stratify": self.stratify,
            "transfer": self.transfer,
            # Folders of older versions have none of these.
            **{name: column for name, column in columns.items() if column},
        }


@dataclass(frozen=True)
class Prepared:
    """The prepared folder; ``changed`` is false if nothing had to be done."""

    folder: Path
    manifest: Manifest
    changed: bool


class StrictError(DatasetError):
    """``--strict`` was given and there are findings; nothing was written."""

    code = "dataset_findings"

    def __init__(self, findings: Sequence[Finding]) -> None:
        """Keep the *findings*, to be printed."""
        kinds = ", ".join(f"{each.count} {each.kind}" for each in findings)
        super().__init__(f"nothing was done, for --strict found: {kinds}")
        self.findings = tuple(findings)


def prepare(request: PrepareRequest, progress: Progress) -> Prepared:
    """Make, complete or verify the folder of *request*.

    A call that is killed at any moment is completed by the next one; no file is ever lost.

    Raises:
        InvalidRequestError: one folder lies in the other.
        ConflictError: the destination holds something else, or another call is making it.
        StrictError: the request is strict and there are findings.
        DatasetError: the photos, or the disk, do not allow it.
        NotFoundError: there is no source.
    """
    _check_places(request)
    dest = request.dest
    with Archives(_existing_parent(dest), request.source_options.encoding) as archives:
        found = _resume(request, archives, progress) or _existing(request)
        if isinstance(found, Prepared):
            return found
        plan = _plan_folder(request, archives, progress, found)
        _check_strict(request, plan.manifest)
        check_space(dest, plan)
        dest.mkdir(parents=True, exist_ok=True)
        with locked_folder(dest, busy=_busy(dest)):
            if read_prepare_plan(dest) is not None:
                raise _busy(dest)
            plan.write(dest)
            build(dest, plan, archives, progress)
    return Prepared(dest, plan.manifest, changed=True)


def parse_amount(text: str) -> Amount:
    """``2000`` as a count, ``0.2`` or ``20%`` as a share.

    Raises:
        InvalidRequestError: *text* is neither, or out of bounds.
    """
    plain = text.strip()
    if re.fullmatch("[0-9]+", plain, re.ASCII) and int(plain) > 0:
        return Amount(count=int(plain))
    if re.fullmatch(r"[0-9]*\.[0-9]+|[0-9.]+%", plain, re.ASCII):
        percent = plain.endswith("%")
        share = float(plain.rstrip("%")) / (100 if percent else 1)
        if 0 < share < 1:
            return Amount(share=share)
    message = f"--valid {text!r}: give a count such as 2000, or a share such as 0.2"
    raise InvalidRequestError(message)


@dataclass(frozen=True)
class _Previous:
    """A destination to be rebuilt: its manifest, and the folder that keeps its files."""

    manifest: Manifest
    folder: str


def _resume(
    request: PrepareRequest, archives: Archives, progress: Progress
) -> Prepared | None:
    if read_prepare_plan(request.dest) is None:
        return None
    with locked_folder(request.dest, busy=_busy(request.dest)):
        plan = read_prepare_plan(request.dest)
        if plan is None:  # the holder of the lock has finished it
            return None
        same = not _differing_options(request, plan.manifest)
        if not same and not request.force:
            raise _other_options(request, plan.manifest, "was interrupted while made")
        build(request.dest, plan, archives, progress)
    return Prepared(request.dest, plan.manifest, changed=True) if same else None


def _existing(request: PrepareRequest) -> Prepared | _Previous | None:
    dest = request.dest
    if not (dest / MANIFEST_FILE).exists():
        _check_empty(dest)
        return None
    manifest = read_manifest(dest)
    if request.force:
        _check_same_source(request, manifest)
        return _Previous(manifest, _free_folder(dest))
    if _differing_options(request, manifest):
        raise _other_options(request, manifest, "was prepared")
    check_prepared_files(dest, manifest.files)
    _check_strict(request, manifest)
    return Prepared(dest, manifest, changed=False)


def _check_places(request: PrepareRequest) -> None:
    check_utf8([str(request.source), str(request.dest)])
    source, dest = request.source.resolve(), request.dest.resolve()
    if source.is_relative_to(dest) or dest.is_relative_to(source):
        message = (
            f"one of {request.dest} and {request.source} is inside the other: give a "
            "destination outside the source"
        )
        raise InvalidRequestError(message)


def _check_empty(dest: Path) -> None:
    if dest.exists() and not dest.is_dir():
        raise ConflictError(f"{dest} is a file: give another destination")
    there = [each.name for each in dest.iterdir()] if dest.exists() else []
    strange = sorted(name for name in there if not name.startswith(TEMPORARY_PREFIX))
    if strange:
        message = (
            f"{dest} is not empty ({strange[0]}) and was not made by kennel prepare: "
            "give another destination"
        )
        raise ConflictError(message)


def _check_same_source(request: PrepareRequest, manifest: Manifest) -> None:
    source = manifest.options["source"]
    if source != str(request.source):
        message = f"{request.dest} was prepared from {source}: use another destination"
        raise ConflictError(message)


def _check_strict(request: PrepareRequest, manifest: Manifest) -> None:
    if request.strict and manifest.findings:
        raise StrictError(manifest.findings)


def _differing_options(request: PrepareRequest, manifest: Manifest) -> list[str]:
    # An option that an older version did not know counts as not given.
    now, then = request.options(), manifest.options
    return [
        f"{name} {then.get(name)!r}, not {now.get(name)!r}"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]


def _other_options(
    request: PrepareRequest, manifest: Manifest, what: str
) -> ConflictError:
    differing = "; ".join(_differing_options(request, manifest))
    return ConflictError(
        f"{request.dest} {what} with other options ({differing}): give another "
        "destination, or --force to make it anew"
    )


def _free_folder(dest: Path) -> str:
    number = 1
    while (dest / f"previous-{number}").exists():
        number += 1
    return f"previous-{number}"


def _existing_parent(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.is_dir())


def _busy(dest: Path) -> ConflictError:
    message = f"another kennel prepare is at work on {dest} ({PREPARE_PLAN_FILE}): wait for it"
    return ConflictError(message)


@dataclass(frozen=True)
class _CheckedPhotos:
    """Photos that decode, by part of the source, those that do not, and all findings."""

    labelled: tuple[ScannedPhoto, ...]
    valid: tuple[ScannedPhoto, ...]
    test: tuple[ScannedPhoto, ...]
    unreadable: tuple[UnreadablePhoto, ...]
    findings: tuple[Finding, ...]


def _plan_folder(
    request: PrepareRequest,
    archives: Archives,
    progress: Progress,
    previous: _Previous | None = None,
) -> Plan:
    """Check every photo of the source, and plan the destination.

    Photos that *previous* moved out of the source count as if they were still there.
    """
    listing = _list_files(request, archives, previous)
    found = collect_photos(listing, request.source_options, archives)
    _check_links(found, request)
    checked = _check_photos(found, archives, progress)
    parts, grouping = _split(checked, request)
    # A submission needs rows for unreadable test photos too; a job reports them again.
    tests = {photo.file.path for photo in found.test}
    bad = [x for x in checked.unreadable if x.photo.file.path in tests and x.sha256]
    test = [*(x.photo for x in checked.test), *(x.photo for x in bad)]
    parts += _test_parts(found, test)
    scanned = (*checked.labelled, *checked.valid, *checked.test)
    placed = _lay_out((*scanned, *bad), parts, request)
    duplicates = find_duplicates(scanned, parts[: len(scanned)])
    manifest = Manifest(
        seed=request.seed,
        options=request.options(),
        grouping=grouping,
        labels=tuple(sorted({each.photo.label for each in checked.labelled})),
        findings=checked.findings + duplicates,
        files=tuple(file for file, _ in placed),
        labelled_by=found.labelled_by,
        found=found.summary(len(scanned) + len(bad)),
    )
    origins = tuple(_moved_origin(*each, request.dest, previous) for each in placed)
    folder = previous.folder if previous else ""
    return Plan(manifest, origins, request.transfer, folder, retired=previous is None)


def _list_files(
    request: PrepareRequest, archives: Archives, previous: _Previous | None
) -> Listing:
    if previous is None:
        return list_source(request.source, archives)
    try:
        listing = list_source(request.source, archives)
    except NotFoundError:
        listing = Listing((), ())
    there = {file.path for file in listing.files}
    moved = [
        SourceFile(file.source, file.size, FileOrigin(request.dest / file.file))
        for file in previous.manifest.files
        if not file.part.startswith("sample/")
        and file.source not in there
        and (request.dest / file.file).exists()
    ]
    folders = {
        str(folder)
        for file in moved
        for folder in PurePosixPath(file.path).parents
        if str(folder) != "."
    }
    return Listing(
        tuple(sort_files((*listing.files, *moved))),
        tuple(sorted(folders.union(listing.folders))),
        listing.findings,
    )


def _check_links(found: CollectedPhotos, request: PrepareRequest) -> None:
    linked = next((photo for photo in found.photos if photo.file.linked), None)
    if linked is not None and request.transfer == "move":
        message = (
            f"--move, but {quoted(linked.file.path)} is a link, and its target may belong "
            "to others: use --link or --copy"
        )
        raise InvalidRequestError(message)


def _check_photos(
    found: CollectedPhotos, archives: Archives, progress: Progress
) -> _CheckedPhotos:
    findings = (
        *found.findings,
        *check_labels((*found.labelled, *found.valid)),
        *check_names(found.photos),
    )
    good, bad = scan_photos(
        found.photos,
        lambda photo: read_encoded(photo.file.origin, archives),
        progress,
    )
    by_path = {each.photo.file.path: each for each in good}
    labelled, valid, test = (
        tuple(by_path[x.file.path] for x in part if x.file.path in by_path)
        for part in (found.labelled, found.valid, found.test)
    )
    _check_damage((*labelled, *valid), bad)
    check_varied([x.thumbnail.tobytes() for x in labelled])
    check_different([x.photo.label for x in labelled], [x.sha256 for x in labelled])
    return _CheckedPhotos(
        labelled, valid, test, tuple(bad), (*findings, *_unreadable(bad))
    )


def _check_damage(
    labelled: Sequence[ScannedPhoto], bad: Sequence[UnreadablePhoto]
) -> None:
    labels = sorted({each.photo.label for each in labelled})
    if len(labels) < 2:
        message = (
            f"{len(bad):,} photos cannot be read ({bad[0].photo.file.path}: "
            f"{bad[0].reason}), and the others have fewer than two classes "
            f"({quoted_names(labels)})"
        )
        raise DatasetError(message)


def _unreadable(photos: Sequence[UnreadablePhoto]) -> tuple[Finding, ...]:
    texts = [f"{each.photo.file.path}: {each.reason}" for each in photos]
    return as_findings(
        "unreadable photo", texts, "it was left out of the split; replace it"
    )


def _split(checked: _CheckedPhotos, request: PrepareRequest) -> tuple[list[str], str]:
    """The part of each labelled photo (``checked.valid`` last), and the grouping."""
    if not checked.valid:
        parts = _assign_parts(checked.labelled, request)
        return parts, _describe_grouping(checked.labelled, request)
    parts = ["train"] * len(checked.labelled) + ["valid"] * len(checked.valid)
    return parts, GIVEN_GROUPING


def _test_parts(found: CollectedPhotos, photos: Sequence[SourcePhoto]) -> list[str]:
    scored = any(photo.label for photo in found.test)
    return [UNLABELLED if scored and not photo.label else "test" for photo in photos]


def _assign_parts(photos: Sequence[ScannedPhoto], request: PrepareRequest) -> list[str]:
    """The part of each labelled photo, train or valid; groups and duplicates stay together."""
    labels = [photo.photo.label for photo in photos]
    strata = _strata(labels, request)
    targets = _targets(strata, request)
    groups = join_groups(
        [photo.photo.group for photo in photos], duplicate_groups(photos)
    )
    generator = np.random.default_rng(request.seed)
    if any(groups):
        named = [
            group or f"alone: {photo.photo.file.path}"
            for group, photo in zip(groups, photos, strict=True)
        ]
        chosen = set(choose_groups(strata, named, targets, generator))
    else:
        chosen = set(choose_items(strata, targets, generator))
    parts = ["valid" if index in chosen else "train" for index in range(len(photos))]
    _check_classes(labels, parts)
    return parts


def _describe_grouping(photos: Sequence[ScannedPhoto], request: PrepareRequest) -> str:
    """How the split was made: a phrase for the manifest and the model card."""
    words = ["stratified" if request.stratify else "not stratified"]
    if request.source_options.group_by:
        words.append(f"grouped by {request.source_options.group_by}")
    if any(duplicate_groups(photos)):
        words.append("exact duplicates together")
    return ", ".join(words)


def _strata(labels: Sequence[str], request: PrepareRequest) -> list[str]:
    return list(labels) if request.stratify else ["all"] * len(labels)


def _targets(strata: Sequence[str], request: PrepareRequest) -> dict[str, int]:
    share = request.valid.share
    count = request.valid.count or round(len(strata) * (share or 0))
    if count >= len(strata):
        message = f"--valid {count}, but there are {len(strata)} labelled photos: ask for fewer"
        raise DatasetError(message)
    return allot(strata, count)


def _check_classes(labels: Sequence[str], parts: Sequence[str]) -> None:
    sizes = Counter(labels)
    placed = Counter(zip(labels, parts, strict=True))
    for label, size in sorted(sizes.items()):
        for part in ("train", "valid"):
            if not placed[label, part]:
                message = (
                    f"class {label!r} has {size} photos and none of them is in {part}: "
                    "change --valid or --seed, add photos or groups, or remove the class"
                )
                raise DatasetError(message)


def _lay_out(
    photos: Sequence[ScannedPhoto | UnreadablePhoto],
    parts: Sequence[str],
    request: PrepareRequest,
) -> list[_Placement]:
    """Files of the parts, then of the samples, which are copies from the parts.

    Photos to predict lie flat, all others in class folders. The second photo of a name
    gets its source folders into the name.
    """
    taken: set[tuple[str, str]] = set()
    placed = []
    for photo, part in zip(photos, parts, strict=True):
        folder = part if part in FLAT_PARTS else f"{part}/{photo.photo.label}"
        name = _free_file_name(photo, folder, taken)
        prepared = PreparedFile(
            file=f"{folder}/{name}",
            part=part,
            label=photo.photo.label,
            group=photo.photo.group,
            source=photo.photo.file.path,
            sha256=photo.sha256,
            size=photo.size,
        )
        placed.append((prepared, photo.photo.file.origin))
    return placed + _samples([file for file, _ in placed], request)


def _free_file_name(
    photo: ScannedPhoto | UnreadablePhoto, folder: str, taken: set[tuple[str, str]]
) -> str:
    path = PurePosixPath(photo.photo.file.path)
    candidates = [path.name, str(path).replace("/", "-")]
    candidates += [f"{photo.sha256[:16]}-{len(taken)}{path.suffix}"]
    fitting = (name for name in candidates if len(os.fsencode(name)) <= _MAX_NAME_BYTES)
    # Ids of the truth may lack the suffix: cat/1.jpg and dog/1.png need different stems.
    scored = folder in FLAT_PARTS and photo.photo.label
    keys = ((PurePosixPath(name).stem if scored else name, name) for name in fitting)
    key, name = next(each for each in keys if (folder, each[0]) not in taken)
    taken.add((folder, key))
    return name


def _samples(
    files: Sequence[PreparedFile], request: PrepareRequest
) -> list[_Placement]:
    wanted = {"train": request.sample_train, "valid": request.sample_valid}
    samples = []
    for salt, (part, count) in enumerate(wanted.items(), start=1):
        members = [file for file in files if file.part == part]
        labels = [file.label for file in members]
        for index in _choose_sample(labels, count, request, salt) if count else []:
            original = members[index]
            copy = replace(
                original, file=f"sample/{original.file}", part=f"sample/{part}"
            )
            samples.append((copy, FileOrigin(Path(request.dest, original.file))))
    return samples


def _choose_sample(
    labels: Sequence[str], count: int, request: PrepareRequest, salt: int
) -> list[int]:
    """The numbers of *count* photos of one part, stratified like the split.

    *salt* makes the random numbers differ from those of the split and other samples.
    """
    strata = _strata(labels, request)
    generator = np.random.default_rng([request.seed, salt])
    return sorted(choose_items(strata, allot(strata, count), generator))


def _moved_origin(
    file: PreparedFile, origin: FileOrigin, dest: Path, previous: _Previous | None
) -> FileOrigin:
    sample = file.part.startswith("sample/")
    if previous is None or sample or not origin.location.is_relative_to(dest):
        return origin
    return FileOrigin(dest / previous.folder / origin.location.relative_to(dest))
