"""Looking at a source: its photos, what is wrong with them, and the plan for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from export.data.checks.duplicates import (
    check_different,
    check_varied,
    find_duplicates,
)
from export.data.checks.findings import Finding, find
from export.data.checks.names import check_labels, check_names
from export.data.checks.scanning import ScannedPhoto, UnreadablePhoto, scan_photos
from export.data.manifest import UNLABELLED, Manifest, PreparedFile
from export.data.preparation.layout import lay_out
from export.data.preparation.parts import assign_parts, describe_grouping
from export.data.preparation.plan import Plan
from export.data.preparation.request import PrepareRequest
from export.data.sources.archives import Archives
from export.data.sources.files import Listing, Origin, SourceFile, sort_files
from export.data.sources.layouts import collect_photos
from export.data.sources.listing import list_source
from export.data.sources.photos import GIVEN_GROUPING, Collection
from export.data.sources.reading import read_origin
from export.progress import Progress
from models.errors import (
    DatasetError,
    InvalidRequestError,
    NotFoundError,
    quoted,
    quoted_names,
)


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


def survey(
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
    collection = collect_photos(listing, request.reading, archives)
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


def _look(collection: Collection, archives: Archives, progress: Progress) -> _Looked:
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


def _check_links(collection: Collection, request: PrepareRequest) -> None:
    linked = next((photo for photo in collection.photos if photo.file.linked), None)
    if linked is not None and request.transfer == "move":
        message = (
            f"--move, but {quoted(linked.file.path)} is a link, and what it leads to may "
            "belong to others: use --link or --copy"
        )
        raise InvalidRequestError(message)


def _unreadable(photos: Sequence[UnreadablePhoto]) -> tuple[Finding, ...]:
    texts = [f"{each.photo.file.path}: {each.reason}" for each in photos]
    return find("unreadable photo", texts, "it was left out of the split; replace it")


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
