"""Looking at a source: its photos, what is wrong with them, and the plan for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from export.data.checks.duplicates import find_duplicates
from export.data.checks.findings import Finding, find
from export.data.checks.names import check_labels, check_names
from export.data.checks.scanning import ScannedPhoto, UnreadablePhoto, scan_photos
from export.data.manifest import Manifest, PreparedFile
from export.data.preparation.layout import lay_out
from export.data.preparation.parts import assign_parts, describe_grouping
from export.data.preparation.plan import Plan
from export.data.preparation.request import PrepareRequest
from export.data.sources.archives import Archives
from export.data.sources.files import Listing, Origin, SourceFile, sort_files
from export.data.sources.layouts import collect_photos
from export.data.sources.listing import list_source
from export.data.sources.photos import Collection
from export.data.sources.reading import read_origin
from export.progress import Progress
from models.errors import NotFoundError


@dataclass(frozen=True)
class Before:
    """A destination that is to be rebuilt: what is in it, and where that will be kept."""

    manifest: Manifest
    previous: str


@dataclass(frozen=True)
class _Looked:
    labelled: tuple[ScannedPhoto, ...]
    test: tuple[ScannedPhoto, ...]
    unreadable_test: tuple[UnreadablePhoto, ...]
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
        NotFoundError: there is no source.
    """
    listing = _list(request, archives, before)
    collection = collect_photos(listing, request.reading, archives)
    looked = _look(collection, archives, progress)
    parts = assign_parts(looked.labelled, request)
    placed = lay_out(
        (*looked.labelled, *looked.test, *looked.unreadable_test),
        parts + ["test"] * (len(looked.test) + len(looked.unreadable_test)),
        request,
    )
    scanned = (*looked.labelled, *looked.test)
    duplicates = find_duplicates(scanned, parts + ["test"] * len(looked.test))
    manifest = Manifest(
        seed=request.seed,
        options=request.options(),
        grouping=describe_grouping(looked.labelled, request),
        labels=tuple(sorted({each.photo.label for each in looked.labelled})),
        findings=looked.findings + duplicates,
        files=tuple(file for file, _ in placed),
        labelled_by=collection.labelled_by,
    )
    origins = tuple(_kept_origin(*each, request.dest, before) for each in placed)
    previous = before.previous if before else ""
    return Plan(manifest, origins, request.transfer, previous, retired=before is None)


def _look(collection: Collection, archives: Archives, progress: Progress) -> _Looked:
    findings = (
        *collection.findings,
        *check_labels(collection.labelled),
        *check_names((*collection.labelled, *collection.test)),
    )
    photos = (*collection.labelled, *collection.test)
    good, bad = scan_photos(
        photos, lambda photo: read_origin(photo.file.origin, archives), progress
    )
    tests = {photo.file.path for photo in collection.test}
    labelled = tuple(each for each in good if each.photo.file.path not in tests)
    # Damage may have left one class only.
    check_labels([each.photo for each in labelled])
    return _Looked(
        labelled,
        tuple(each for each in good if each.photo.file.path in tests),
        # A submission needs a row for these, too; the batch job reports them again.
        tuple(each for each in bad if each.photo.file.path in tests and each.sha256),
        (*findings, *_unreadable(bad)),
    )


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
        listing.unsafe,
    )


def _kept_origin(
    file: PreparedFile, origin: Origin, dest: Path, before: Before | None
) -> Origin:
    sample = file.part.startswith("sample/")
    if before is None or sample or not origin.location.is_relative_to(dest):
        return origin
    return Origin(dest / before.previous / origin.location.relative_to(dest))
