"""`kennel prepare`: from a source to a folder that is split, checked and complete.

The order is always: look, check, plan, write. Nothing is written before the whole source
has been read, and equal options give equal folders.
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
    check_files,
    read_manifest,
)
from export.data.placing import Plan, build, check_space, read_plan
from export.data.sources.archives import Archives
from export.data.sources.files import (
    GIVEN_GROUPING,
    CollectedPhotos,
    Finding,
    Listing,
    Origin,
    SourceFile,
    as_findings,
    sort_files,
)
from export.data.sources.reading import list_source, read_origin
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


@dataclass(frozen=True)
class Amount:
    """How many photos validate: a ``count``, or a ``share`` of all (0..1)."""

    count: int | None = None
    share: float | None = None

    def __str__(self) -> str:
        return str(self.share if self.count is None else self.count)


@dataclass(frozen=True)
class PrepareRequest:
    """From where, to where and how; both paths are absolute.

    ``sample_train`` and ``sample_valid`` are counts; a sample is never more than there
    is. ``transfer`` is link, copy or move.
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
        """All that determines the result, as JSON: equal options give equal folders."""
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
            # Folders that were made before there were these have none.
            **{name: column for name, column in columns.items() if column},
        }


def parse_amount(text: str) -> Amount:
    """``2000`` as a count, ``0.2`` or ``20%`` as a share.

    Raises:
        InvalidRequestError: it is neither, or out of bounds.
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
class Prepared:
    """The prepared folder; ``changed`` is false if it was there already."""

    folder: Path
    manifest: Manifest
    changed: bool


def prepare(request: PrepareRequest, progress: Progress) -> Prepared:
    """Make, or complete, or verify the folder that *request* asks for.

    Killed at any moment, it completes when called again; no file is ever lost.

    Raises:
        InvalidRequestError: one folder lies in the other.
        ConflictError: the destination holds something else, or is being made just now.
        StrictError: the request is strict and there are findings.
        DatasetError: the photos, or the disk, do not allow it.
        NotFoundError: there is no source.
    """
    check_places(request)
    dest = request.dest
    with Archives(_existing_parent(dest), request.source_options.encoding) as archives:
        before = _resume(request, archives, progress) or _before(request)
        if isinstance(before, Prepared):
            return before
        plan = plan_folder(request, archives, progress, before)
        check_strict(request, plan.manifest)
        check_space(dest, list(plan.steps(dest)))
        dest.mkdir(parents=True, exist_ok=True)
        with locked_folder(dest, busy=_busy(dest)):
            if read_plan(dest) is not None:
                raise _busy(dest)
            plan.write(dest)
            build(dest, plan, archives, progress)
    return Prepared(dest, plan.manifest, changed=True)


def _resume(
    request: PrepareRequest, archives: Archives, progress: Progress
) -> Prepared | None:
    if read_plan(request.dest) is None:
        return None
    with locked_folder(request.dest, busy=_busy(request.dest)):
        plan = read_plan(request.dest)
        if plan is None:  # whoever held the lock has finished it
            return None
        same = not differing_options(request, plan.manifest)
        if not same and not request.force:
            raise other_options(request, plan.manifest, "was interrupted while made")
        build(request.dest, plan, archives, progress)
    return Prepared(request.dest, plan.manifest, changed=True) if same else None


def _before(request: PrepareRequest) -> Prepared | Before | None:
    dest = request.dest
    if not (dest / MANIFEST_FILE).exists():
        check_empty(dest)
        return None
    manifest = read_manifest(dest)
    if request.force:
        check_same_source(request, manifest)
        return Before(manifest, _free_folder(dest))
    if differing_options(request, manifest):
        raise other_options(request, manifest, "was prepared")
    check_files(dest, manifest.files)
    check_strict(request, manifest)
    return Prepared(dest, manifest, changed=False)


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
class Before:
    """A destination that is to be rebuilt: what is in it, and where that will be kept."""

    manifest: Manifest
    previous: str


@dataclass(frozen=True)
class _Looked:
    """Photos that decode: to train on, set apart by the source, to predict."""

    labelled: tuple[ScannedPhoto, ...]
    valid: tuple[ScannedPhoto, ...]
    test: tuple[ScannedPhoto, ...]
    unreadable: tuple[UnreadablePhoto, ...]
    findings: tuple[Finding, ...]


def plan_folder(
    request: PrepareRequest,
    archives: Archives,
    progress: Progress,
    before: Before | None = None,
) -> Plan:
    """Read and check every photo of the source, and plan the destination.

    A photo that is no more in the source but still in the destination is *before*'s:
    it counts as if it still lay where it came from.

    Raises:
        DatasetError: the photos cannot be made a split.
        InvalidRequestError: links are to be moved.
        NotFoundError: there is no source.
    """
    listing = _list(request, archives, before)
    collection = collect_photos(listing, request.source_options, archives)
    _check_links(collection, request)
    looked = _look(collection, archives, progress)
    parts, grouping = _split(looked, request)
    # A submission needs a row for these, too; the batch job reports them again.
    tests = {photo.file.path for photo in collection.test}
    bad = [x for x in looked.unreadable if x.photo.file.path in tests and x.sha256]
    scored = any(photo.label for photo in collection.test)
    parts += [
        UNLABELLED if scored and not photo.label else "test"
        for photo in [*(x.photo for x in looked.test), *(x.photo for x in bad)]
    ]
    scanned = (*looked.labelled, *looked.valid, *looked.test)
    placed = lay_out((*scanned, *bad), parts, request)
    duplicates = find_duplicates(scanned, parts[: len(scanned)])
    manifest = Manifest(
        seed=request.seed,
        options=request.options(),
        grouping=grouping,
        labels=tuple(sorted({each.photo.label for each in looked.labelled})),
        findings=looked.findings + duplicates,
        files=tuple(file for file, _ in placed),
        labelled_by=collection.labelled_by,
        found=collection.summary(len(scanned) + len(bad)),
    )
    origins = tuple(_kept_origin(*each, request.dest, before) for each in placed)
    previous = before.previous if before else ""
    return Plan(manifest, origins, request.transfer, previous, retired=before is None)


def _look(
    collection: CollectedPhotos, archives: Archives, progress: Progress
) -> _Looked:
    findings = (
        *collection.findings,
        *check_labels((*collection.labelled, *collection.valid)),
        *check_names(collection.photos),
    )
    good, bad = scan_photos(
        collection.photos,
        lambda photo: read_origin(photo.file.origin, archives),
        progress,
    )
    by_path = {each.photo.file.path: each for each in good}
    labelled, valid, test = (
        tuple(by_path[x.file.path] for x in part if x.file.path in by_path)
        for part in (collection.labelled, collection.valid, collection.test)
    )
    _check_damage((*labelled, *valid), bad)
    check_varied([x.thumbnail.tobytes() for x in labelled])
    check_different([x.photo.label for x in labelled], [x.sha256 for x in labelled])
    return _Looked(labelled, valid, test, tuple(bad), (*findings, *_unreadable(bad)))


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


def _split(looked: _Looked, request: PrepareRequest) -> tuple[list[str], str]:
    """The part of each photo with a label, those for validation last, and how it came."""
    if not looked.valid:
        parts = assign_parts(looked.labelled, request)
        return parts, describe_grouping(looked.labelled, request)
    parts = ["train"] * len(looked.labelled) + ["valid"] * len(looked.valid)
    return parts, GIVEN_GROUPING


def _check_links(collection: CollectedPhotos, request: PrepareRequest) -> None:
    linked = next((photo for photo in collection.photos if photo.file.linked), None)
    if linked is not None and request.transfer == "move":
        message = (
            f"--move, but {quoted(linked.file.path)} is a link, and what it leads to may "
            "belong to others: use --link or --copy"
        )
        raise InvalidRequestError(message)


def _unreadable(photos: Sequence[UnreadablePhoto]) -> tuple[Finding, ...]:
    texts = [f"{each.photo.file.path}: {each.reason}" for each in photos]
    return as_findings(
        "unreadable photo", texts, "it was left out of the split; replace it"
    )


def _list(
    request: PrepareRequest, archives: Archives, before: Before | None
) -> Listing:
    if before is None:
        return list_source(request.source, archives)
    try:
        listing = list_source(request.source, archives)
    except NotFoundError:
        listing = Listing((), ())
    there = {file.path for file in listing.files}
    moved = [
        SourceFile(file.source, file.size, Origin(request.dest / file.file))
        for file in before.manifest.files
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


def _kept_origin(
    file: PreparedFile, origin: Origin, dest: Path, before: Before | None
) -> Origin:
    sample = file.part.startswith("sample/")
    if before is None or sample or not origin.location.is_relative_to(dest):
        return origin
    return Origin(dest / before.previous / origin.location.relative_to(dest))


def assign_parts(photos: Sequence[ScannedPhoto], request: PrepareRequest) -> list[str]:
    """ "train" or "valid" for each labelled photo; groups and duplicates stay together.

    Raises:
        DatasetError: a class would be missing in one of the parts.
    """
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
    _check(labels, parts)
    return parts


def choose_sample(
    labels: Sequence[str], count: int, request: PrepareRequest, salt: int
) -> list[int]:
    """The numbers of *count* photos of one part, stratified as the split is.

    *salt* keeps the random numbers apart from those of the split and other samples.
    """
    strata = _strata(labels, request)
    generator = np.random.default_rng([request.seed, salt])
    return sorted(choose_items(strata, allot(strata, count), generator))


def describe_grouping(photos: Sequence[ScannedPhoto], request: PrepareRequest) -> str:
    """How the split was made, in words, for the manifest and the model card."""
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


def _check(labels: Sequence[str], parts: Sequence[str]) -> None:
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


MAX_NAME_BYTES: Final = 180  # a temporary name is longer, and 255 is the limit

Placement = tuple[PreparedFile, Origin]


def lay_out(
    photos: Sequence[ScannedPhoto | UnreadablePhoto],
    parts: Sequence[str],
    request: PrepareRequest,
) -> list[Placement]:
    """Files of the parts, then of the samples, which are taken from the parts.

    Photos to predict lie flat, all others in class folders; equal names of one class are
    told apart by the folders that they came from.
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


def _samples(files: Sequence[PreparedFile], request: PrepareRequest) -> list[Placement]:
    wanted = {"train": request.sample_train, "valid": request.sample_valid}
    samples = []
    for salt, (part, count) in enumerate(wanted.items(), start=1):
        members = [file for file in files if file.part == part]
        labels = [file.label for file in members]
        for index in choose_sample(labels, count, request, salt) if count else []:
            original = members[index]
            copy = replace(
                original, file=f"sample/{original.file}", part=f"sample/{part}"
            )
            samples.append((copy, Origin(Path(request.dest, original.file))))
    return samples


def _free_file_name(
    photo: ScannedPhoto | UnreadablePhoto, folder: str, taken: set[tuple[str, str]]
) -> str:
    path = PurePosixPath(photo.photo.file.path)
    candidates = [path.name, str(path).replace("/", "-")]
    candidates += [f"{photo.sha256[:16]}-{len(taken)}{path.suffix}"]
    fitting = (name for name in candidates if len(os.fsencode(name)) <= MAX_NAME_BYTES)
    # An id of the truth may be a name without its suffix: cat/1.jpg and dog/1.png are two.
    scored = folder in FLAT_PARTS and photo.photo.label
    keys = ((PurePosixPath(name).stem if scored else name, name) for name in fitting)
    key, name = next(each for each in keys if (folder, each[0]) not in taken)
    taken.add((folder, key))
    return name


class StrictError(DatasetError):
    """``--strict``, and there are findings; nothing was done."""

    code = "dataset_findings"

    def __init__(self, findings: Sequence[Finding]) -> None:
        """Keep the *findings* for whoever prints them."""
        kinds = ", ".join(f"{each.count} {each.kind}" for each in findings)
        super().__init__(f"nothing was done, for --strict found: {kinds}")
        self.findings = tuple(findings)


def check_places(request: PrepareRequest) -> None:
    """Refuse a source and a destination of which one lies in the other.

    Raises:
        InvalidRequestError: they do.
        DatasetError: a path is not UTF-8.
    """
    check_utf8([str(request.source), str(request.dest)])
    source, dest = request.source.resolve(), request.dest.resolve()
    if source.is_relative_to(dest) or dest.is_relative_to(source):
        message = (
            f"{request.dest} and {request.source} lie one in the other: give a "
            "destination outside the source"
        )
        raise InvalidRequestError(message)


def check_empty(dest: Path) -> None:
    """Refuse a destination that holds anything not of ours.

    Raises:
        ConflictError: it does.
    """
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


def check_same_source(request: PrepareRequest, manifest: Manifest) -> None:
    """Refuse to make a folder anew from another source.

    Raises:
        ConflictError: the source is another.
    """
    source = manifest.options["source"]
    if source != str(request.source):
        message = f"{request.dest} was prepared from {source}: use another destination"
        raise ConflictError(message)


def check_strict(request: PrepareRequest, manifest: Manifest) -> None:
    """Refuse findings if the request is strict.

    Raises:
        StrictError: there are some.
    """
    if request.strict and manifest.findings:
        raise StrictError(manifest.findings)


def differing_options(request: PrepareRequest, manifest: Manifest) -> list[str]:
    """What *request* asks for otherwise than *manifest* was made, in words.

    Options that an older version did not know are as if they had not been given.
    """
    now, then = request.options(), manifest.options
    return [
        f"{name} {then.get(name)!r}, not {now.get(name)!r}"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]


def other_options(
    request: PrepareRequest, manifest: Manifest, what: str
) -> ConflictError:
    """The error for a folder that was made otherwise; it names the options."""
    differing = "; ".join(differing_options(request, manifest))
    return ConflictError(
        f"{request.dest} {what} with other options ({differing}): give another "
        "destination, or --force to make it anew"
    )
