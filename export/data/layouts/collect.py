"""Layout of a source, and its photos: class folders, flat names, a CSV or IDX files.

Of several layouts that fit, the one that labels most photos is used. Every file of the
source is taken, or expected (a sample submission), or left out with a reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from export.data.layouts.csv_labels import (
    LabelFiles,
    NamedColumns,
    find_label_files,
    is_label_file,
    is_sample_submission,
)
from export.data.layouts.folders import (
    EMPTY,
    IN_PIECES,
    NOT_IN_TRAIN,
    collect_from_folders,
)
from export.data.sources.archives import Archives
from export.data.sources.files import (
    ARCHIVE,
    PHOTO,
    PIECE,
    TEST,
    TRAIN,
    VALID,
    CollectedPhotos,
    Finding,
    Listing,
    SourceFile,
    SourcePhoto,
    as_findings,
)
from export.data.sources.reading import collect_idx, find_idx, is_idx
from models.errors import DatasetError, InvalidRequestError, quoted, quoted_names
from models.text import normal_name

_IDX: Final = "idx"
_CSV: Final = "csv"

_FOREIGN_ARCHIVES: Final = (".7z", ".rar", ".zst", ".gz", ".bz2", ".xz", ".lzma", ".z")

_NOT_LISTED: Final = "photo that the CSV does not list"
_NOT_IDX: Final = "photo beside the IDX files"
_NOT_TAKEN: Final = "CSV file not taken"
_NOT_OPENED: Final = "archive that was not opened"
_MOST_NAMED: Final = 3
_LEFT_OUT: Final = "it was left out"
_REMEDIES: Final = {
    _NOT_TAKEN: "remove it, or choose the labels with kennel prepare --csv or --layout",
    _NOT_OPENED: "it was left out; unpack it (kennel prepare opens whole zip and tar files)",
}


@dataclass(frozen=True)
class SourceOptions:
    """Options for reading a source; None or empty: recognised from its files."""

    layout: str | None = None
    csv: Path | None = None
    group_by: str | None = None
    labels: tuple[str, ...] = ()
    photo_column: str | None = None
    label_column: str | None = None
    encoding: str | None = None

    @property
    def columns(self) -> NamedColumns:
        """The columns of the CSV that the user named."""
        return NamedColumns(self.photo_column, self.label_column, self.group_by)


def collect_photos(
    listing: Listing, options: SourceOptions, archives: Archives
) -> CollectedPhotos:
    """The photos of a source with the labels of its layout; findings name all the rest.

    Raises:
        InvalidRequestError: options that the layout does not use.
        DatasetError: no layout fits, or the photos do not fit the layout.
    """
    csv_files = LabelFiles()
    if options.layout in {None, _CSV}:
        csv_files = find_label_files(listing, archives, options.csv, options.columns)
    found, used = _choose(listing, options, csv_files)
    _check_options(found.layout, options)
    if not found.labelled:
        raise DatasetError(_nothing_labelled(listing, found, options, csv_files))
    found = _with_normal_names(found)
    if found.layout == _CSV:
        found = _split_by_folders(found, listing, options)
    used |= {file.path for file in listing.files if _is_expected(file, options)}
    left = (*_left_out(listing, found, used, csv_files), *listing.findings)
    _check_classes(found, left)
    unlisted = sum(finding.count for finding in listing.findings)
    return replace(
        found,
        findings=(*found.findings, *left),
        files=len(listing.files) + unlisted,
        left_out=sum(finding.count for finding in left),
    )


def _check_classes(found: CollectedPhotos, left: Sequence[Finding]) -> None:
    train = {photo.label for photo in found.labelled}
    valid = {photo.label for photo in found.valid}
    if len(train) < 2:
        empty = [
            x for each in found.findings if each.kind == EMPTY for x in each.examples
        ]
        reasons = [f"no photo is in {quoted_names(empty)}"] if empty else []
        message = (
            f"1 class ({quoted(train.pop())}): at least two are needed to tell photos "
            "apart"
        )
        raise DatasetError("; ".join([message, *reasons, *_as_texts(left)]))
    if valid and train != valid:
        only = sorted(train ^ valid)
        where = "training" if only[0] in train else "validation"
        message = (
            f"class {quoted(only[0])} has {where} photos only: add the others, rename "
            "it, or give the training folder alone to have it split"
        )
        raise DatasetError(message)


def _as_texts(findings: Sequence[Finding]) -> list[str]:
    """The *findings* as parts of an error's message; CSV files with their reasons."""
    return [
        "; ".join(each.examples[:_MOST_NAMED])
        if each.kind == _NOT_TAKEN
        else f"{each.count:,} {each.kind} ({quoted(each.examples[0])})"
        for each in findings
    ]


def _split_by_folders(
    found: CollectedPhotos, listing: Listing, options: SourceOptions
) -> CollectedPhotos:
    """*found*, labelled by a CSV, divided into the parts that its folders are.

    With --group-by the split is made anew, validation photos included.
    """
    try:
        parts = collect_from_folders(listing).parts
    except DatasetError:  # the folders are no parts, and the CSV does not need them
        return found
    placed: dict[str, list[SourcePhoto]] = defaultdict(list)
    for photo in found.labelled:
        part = _part_of_photo(photo.file, parts)
        again = part == VALID and options.group_by is not None
        placed[TRAIN if again else part].append(photo)
    labels = {photo.label for photo in placed[TRAIN]}
    if not labels:
        return found
    scored = [photo for photo in placed[TEST] if photo.label in labels]
    strange = [photo for photo in placed[TEST] if photo.label not in labels]
    return replace(
        found,
        labelled=tuple(placed[TRAIN]),
        valid=tuple(placed[VALID]),
        test=(*found.test, *scored),
        parts=parts,
        left={photo.file.path: NOT_IN_TRAIN for photo in strange},
    )


def _part_of_photo(photo: SourceFile, parts: Mapping[str, str]) -> str:
    folder = photo.folder
    while folder and folder not in parts:
        folder = folder.rpartition("/")[0]
    return parts.get(folder, TRAIN)


def _with_normal_names(found: CollectedPhotos) -> CollectedPhotos:
    """*found* with labels and groups in normal form; merged labels become a finding."""
    written = defaultdict(set)
    for photo in (*found.labelled, *found.valid):
        written[normal_name(photo.label)].add(photo.label)
    merged = [
        " and ".join(ascii(each) for each in sorted(names))
        for names in written.values()
        if len(names) > 1
    ]
    same = as_findings(
        "labels that are the same text, taken as one",
        merged,
        "give them one name: they differ in how an accent is written, or in spaces",
    )
    return replace(
        found,
        labelled=_normal_labels(found.labelled),
        valid=_normal_labels(found.valid),
        test=_normal_labels(found.test),
        findings=(*same, *found.findings),
    )


def _normal_labels(photos: Sequence[SourcePhoto]) -> tuple[SourcePhoto, ...]:
    return tuple(
        replace(photo, label=normal_name(photo.label), group=normal_name(photo.group))
        for photo in photos
    )


def _choose(
    listing: Listing, options: SourceOptions, csv_files: LabelFiles
) -> tuple[CollectedPhotos, set[str]]:
    """The layout that labels most photos, and the other files that it uses, by path."""
    idx = {file.path for file in find_idx(listing).values()}
    if options.layout == _IDX or (options.layout is None and idx):
        return collect_idx(listing, options.labels), idx
    named = options.csv is not None or options.columns != NamedColumns()
    if options.layout == _CSV or (options.layout is None and named):
        return _from_csv(csv_files)
    from_csv = _from_csv(csv_files) if csv_files.usable else None
    try:
        found = collect_from_folders(listing, options.layout)
    except DatasetError:  # the folders are no classes, and a CSV may not need them
        if from_csv is None or 2 * len(from_csv[0].photos) < len(listing.photos):
            raise
        return from_csv
    return from_csv if from_csv and _csv_wins(from_csv[0], found) else (found, set())


def _csv_wins(from_csv: CollectedPhotos, found: CollectedPhotos) -> bool:
    """Whether the CSV's labels count, not those *found* in folders and names."""
    share = len(from_csv.labelled) / max(1, len(found.labelled))
    if 0.5 <= share < 1:  # then only if a label differs from that of the folders
        labels = {photo.file.path: photo.label for photo in found.labelled}
        return any(labels.get(x.file.path) != x.label for x in from_csv.labelled)
    return share >= 1


def _from_csv(csv_files: LabelFiles) -> tuple[CollectedPhotos, set[str]]:
    """The photos of the CSV that labels most of them, and its name."""
    counts = {name: len(each.labelled) for name, each in csv_files.usable.items()}
    most = [name for name in counts if counts[name] == max(counts.values())]
    best = LabelFiles(
        {name: csv_files.usable[name] for name in most}, csv_files.refused
    )
    return best.only(), set(most)


def _check_options(layout: str, options: SourceOptions) -> None:
    for option, column in (
        ("--group-by", options.group_by),
        ("--photo-column", options.photo_column),
        ("--label-column", options.label_column),
    ):
        if column and layout != _CSV:
            message = (
                f"{option} {column} names a column of a CSV, but the layout is {layout}: "
                "give --csv FILE"
            )
            raise InvalidRequestError(message)
    if options.labels and layout != _IDX:
        message = f"--labels is for IDX files, but the layout is {layout}: leave it out"
        raise InvalidRequestError(message)


def _nothing_labelled(
    listing: Listing,
    found: CollectedPhotos,
    options: SourceOptions,
    csv_files: LabelFiles,
) -> str:
    if options.layout is not None:
        how = {"flat": "named like cat.0.jpg", "classes": "in class folders"}
        return f"no photos {how[options.layout]} below the source: see --help"
    seen = f" ({'; '.join(csv_files.reasons())})" if csv_files.refused else ""
    message = (
        "no labelled photos: neither cat.0.jpg names, nor class folders (at least two), "
        f"nor a CSV of photos and labels{seen}, nor IDX files."
    )
    if found.test or found.left:
        message += f" {len(found.test) + len(found.left):,} photos have no label."
    if IN_PIECES in found.left.values():
        message += (
            " Folders that differ in a number only are classes with --layout classes."
        )
    closed = [x.path for x in listing.files if x.kind == ARCHIVE or is_idx(x.name)]
    if closed:
        message += (
            f" Not opened: {quoted_names(closed)}; unpack, or use kennel prepare."
        )
    if listing.findings:
        message += f" Left out: {'; '.join(_as_texts(listing.findings))}."
    return f"{message} Give the folder that holds them, or kennel prepare --layout"


def _left_out(
    listing: Listing, found: CollectedPhotos, used: set[str], csv_files: LabelFiles
) -> tuple[Finding, ...]:
    known = used | {photo.file.path for photo in found.photos}
    reasons: dict[str, list[str]] = defaultdict(list)
    for file in listing.files:
        if file.path not in known:
            reasons[_reason(file, found, csv_files)].append(
                _described_file(file, csv_files)
            )
    return tuple(
        finding
        for reason in sorted(reasons)
        for finding in as_findings(
            reason, reasons[reason], _REMEDIES.get(reason, _LEFT_OUT)
        )
    )


def _reason(file: SourceFile, found: CollectedPhotos, csv_files: LabelFiles) -> str:
    if file.kind == PHOTO:
        default = _NOT_IDX if found.layout == _IDX else _NOT_LISTED
        return found.left.get(file.path, default)
    is_foreign = file.name.lower().endswith(_FOREIGN_ARCHIVES)
    if file.kind == ARCHIVE or is_foreign or PIECE.search(file.name):
        return _NOT_OPENED
    return _NOT_TAKEN if is_label_file(file) else "file that is no photo"


def _described_file(file: SourceFile, csv_files: LabelFiles) -> str:
    if file.path in csv_files.usable:
        return f"{file.path} labels fewer photos"
    return f"{file.path} {csv_files.refused.get(file.path, '')}".strip()


def _is_expected(file: SourceFile, options: SourceOptions) -> bool:
    """Whether *file* is no finding: a sample submission, or a CSV that options exclude."""
    excludes = options.csv is not None or options.layout not in {None, _CSV}
    return is_sample_submission(file) or (excludes and is_label_file(file))
