"""CSV files of labels: Dog Breed's `id,breed`, State Farm's `subject,classname,img`,
HAM10000's column for each label.

Columns are recognised by their names, or else by their values: file names in one, few
different values in another. Photos may lie anywhere below the source, as long as name, or
name and folder, tell them apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from export.data.layouts.photo_finder import PhotoFinder, PhotoMatch, path_parts
from export.data.sources.archives import Archives
from export.data.sources.files import (
    CollectedPhotos,
    FileOrigin,
    Finding,
    Listing,
    SourceFile,
    SourcePhoto,
    as_findings,
)
from models.errors import (
    DatasetError,
    InvalidImageError,
    InvalidRequestError,
    quoted,
    quoted_names,
)
from models.text import (
    PHOTO_COLUMNS,
    CsvFaultError,
    column_key,
    normal_name,
    parse_flag,
    read_csv_rows,
)

LABEL_COLUMNS: Final = (
    *("classname", "class_name", "label", "labels", "class", "classes", "category"),
    *("categories", "label_name", "category_name", "class_label", "target", "breed"),
    *("diagnosis", "dx", "species", "variety", "disease", "emotion", "class_id"),
    *("label_id", "category_id"),
)
SUBJECT_COLUMNS: Final = tuple(
    f"{name}{ending}"
    for name in ("subject", "patient", "driver", "person", "lesion")
    for ending in ("", "_id", "id")
)
MAX_CSV_BYTES: Final = 256 * 1024**2
_PART_COLUMNS: Final = (
    *("usage", "split", "part", "partition", "set", "subset", "data_set", "phase"),
    *("fold", "kfold", "is_train", "is_valid", "is_validation", "is_test"),
)
_SUFFIXES: Final = (".csv", ".tsv", ".xlsx", ".xls")
_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SUBMISSION: Final = "submission"  # has id and label, but no labels
_MOST_FILES: Final = 20
_MOST_FOLDERS: Final = 3
_ROWS_TRIED: Final = 1000
_MOST_NEAREST: Final = 3
_MISSING: Final = frozenset({"na", "n/a", "#n/a", "<na>", "nan", "null"})
_Row = tuple[int, str, str]
"""Line, photo as written in the CSV, and label."""


@dataclass(frozen=True)
class NamedColumns:
    """The columns that the user named; None: recognised by their names or values."""

    photo: str | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class LabelFiles:
    """The CSV files of a source, by path.

    Attributes:
        usable: those that label photos, and the photos.
        refused: the others, and why each was not taken.
    """

    usable: dict[str, CollectedPhotos] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def only(self) -> CollectedPhotos:
        """The photos of the one usable file.

        Raises:
            DatasetError: there is none, or there are several.
        """
        if len(self.usable) == 1:
            return next(iter(self.usable.values()))
        if len(self.usable) > 1:
            message = (
                f"{len(self.usable)} CSV files label photos "
                f"({quoted_names(sorted(self.usable))}): name one with --csv"
            )
        else:
            message = (
                "; ".join(self.reasons()) or "there is no CSV file below the source"
            )
        raise DatasetError(message)

    def reasons(self) -> list[str]:
        """The name of each refused file and why it was not taken."""
        return [f"{name} {reason}" for name, reason in self.refused.items()]


def find_label_files(
    listing: Listing, archives: Archives, given: Path | None, named: NamedColumns
) -> LabelFiles:
    """The CSV files at or near the top of *listing*, or the *given* one, and their photos.

    Sample submissions are ignored. Photos in a folder called test that the CSV does not
    label are test photos.

    Raises:
        InvalidRequestError: there is no *given* file, neither here nor in the source.
    """
    found = LabelFiles()
    finder = PhotoFinder(listing.photos)
    files = [_named_file(given, listing)] if given else _label_files(listing)
    for file in files[:_MOST_FILES]:
        try:
            collection = _collect(_read(file, archives), finder, listing, named)
            if not given and all(each.file.is_test() for each in collection.labelled):
                raise _UnusableError("labels test photos only")
            found.usable[file.path] = collection
        except _UnusableError as error:
            found.refused[file.path] = str(error)
    if len(files) > _MOST_FILES:
        more = f"and {len(files) - _MOST_FILES:,} more CSV files"
        found.refused[more] = "were not looked at: name one with --csv"
    return found


def is_label_file(file: SourceFile) -> bool:
    """Whether *file* may hold labels, by its name and depth."""
    return (
        file.name.lower().endswith(_SUFFIXES)
        and file.path.count("/") <= _MOST_FOLDERS
        and not is_sample_submission(file)
    )


def is_sample_submission(file: SourceFile) -> bool:
    """Whether *file* is a sample submission: it has ids, but its labels are not true."""
    name = file.name.lower()
    return name.endswith(_SUFFIXES) and _SUBMISSION in name


class _UnusableError(Exception):
    """Why a CSV file is not taken: a sentence without its subject, the file's name."""


def _label_files(listing: Listing) -> list[SourceFile]:
    found = filter(is_label_file, listing.files)
    return sorted(found, key=lambda file: (file.path.count("/"), file.path))


def _named_file(path: Path, listing: Listing) -> SourceFile:
    if path.is_file():
        return SourceFile(path.name, path.stat().st_size, FileOrigin(path))
    # It may be in an archive.
    end = "/".join(("", *path_parts(str(path))))
    inside = [
        file for file in listing.files if f"/{normal_name(file.path)}".endswith(end)
    ]
    if len(inside) != 1:
        known = quoted_names(file.path for file in inside or _label_files(listing))
        message = (
            f"--csv {quoted(str(path))}: {len(inside) or 'no'} such files, neither here "
            f"nor in the source; its CSV files are {known}"
        )
        raise InvalidRequestError(message)
    return inside[0]


@dataclass(frozen=True)
class _Table:
    """A CSV file with its cells in normal form; *rows* have their line numbers."""

    name: str
    header: tuple[str, ...]
    rows: Sequence[tuple[int, Sequence[str]]]

    def tried(self, column: int) -> list[str]:
        """A sample of *column*'s cells from the whole file, at most `_ROWS_TRIED`."""
        step = -(-len(self.rows) // _ROWS_TRIED)
        return [cells[column] for _, cells in self.rows[::step]]


def _read(file: SourceFile, archives: Archives) -> _Table:
    if file.size > MAX_CSV_BYTES:
        raise _UnusableError(f"is larger than {MAX_CSV_BYTES:,} bytes")
    try:
        if file.origin.members:
            content = archives.read(file.origin)
        else:
            content = file.origin.location.read_bytes()
        if content.startswith(_WORKBOOKS):
            raise _UnusableError("is an Excel workbook: save its sheet as CSV in UTF-8")
        rows = [
            (line, [_clean(cell) for cell in cells])
            for line, cells in read_csv_rows(io.BytesIO(content))
        ]
    except InvalidImageError as error:
        raise _UnusableError(f"cannot be read: {error}") from error
    except CsvFaultError as fault:
        raise _UnusableError(f"line {fault.line} cannot be used: {fault}") from fault
    if len(rows) < 2:
        raise _UnusableError("has no rows: it needs a header, and a row for each photo")
    return _Table(file.path, tuple(rows[0][1]), rows[1:])


def _clean(cell: str) -> str:
    plain = normal_name(cell)
    if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "\"'":
        return plain[1:-1].strip()
    return plain


@dataclass(frozen=True)
class _Columns:
    """Numbers of the columns of a table.

    Several *labels*: one column for each label, 1 where it applies. *guessed*: recognised
    by values, not by names.
    """

    photo: int
    labels: tuple[int, ...]
    group: int | None
    guessed: bool


def _collect(
    table: _Table, finder: PhotoFinder, listing: Listing, named: NamedColumns
) -> CollectedPhotos:
    columns = _find_columns(table, finder, named)
    labels = _labels(table, columns)
    labelled, findings = _labelled_photos(table, columns, labels, finder)
    unlabelled = [
        SourcePhoto(photo)
        for photo in listing.photos
        if photo.is_test() and photo.path not in labelled
    ]
    findings += (*_column_findings(table, columns, named), *_label_findings(labels))
    return CollectedPhotos(
        "csv",
        labelled=tuple(labelled[path] for path in sorted(labelled)),
        test=tuple(unlabelled),
        findings=findings,
        labelled_by=_describe(table, columns),
    )


def _labelled_photos(
    table: _Table, columns: _Columns, labels: Sequence[str], finder: PhotoFinder
) -> tuple[dict[str, SourcePhoto], tuple[Finding, ...]]:
    """The photos of the rows by path, and findings about rows that do not fit exactly."""
    labelled: dict[str, SourcePhoto] = {}
    missing, renamed = [], []
    for (line, cells), label, match in zip(
        table.rows, labels, _match(table, columns, labels, finder), strict=True
    ):
        written = cells[columns.photo]
        if match is None:
            missing.append((line, written, label))
            continue
        group = "" if columns.group is None else cells[columns.group]
        _add(labelled, SourcePhoto(match.file, label, group), line)
        if match.is_loose:
            renamed.append(f"line {line}: {written} is {match.file.path}")
    if not labelled:
        raise _no_photo_found(table, missing[0], finder)
    return labelled, (
        *_missing_photos(missing, finder),
        *as_findings(
            "photo of the CSV found under another name",
            renamed,
            "see that each is the photo meant",
        ),
    )


def _labels(table: _Table, columns: _Columns) -> list[str]:
    labels = []
    for line, cells in table.rows:
        photo = cells[columns.photo]
        if len(columns.labels) == 1:
            label = cells[columns.labels[0]]
        else:
            marked = (each for each in columns.labels if parse_flag(cells[each]))
            label = table.header[next(marked)]
        if not photo or not label:
            lack = f"no label for {quoted(photo)}" if photo else "no photo"
            raise _UnusableError(
                f"line {line} has {lack} ({quoted(','.join(cells))}): fill it in, or "
                "remove the row"
            )
        labels.append(label)
    return labels


def _match(
    table: _Table, columns: _Columns, labels: Sequence[str], finder: PhotoFinder
) -> list[PhotoMatch | None]:
    """The photo of each row; a photo that another row names exactly is not guessed."""
    names = [cells[columns.photo] for _, cells in table.rows]
    exact = [
        finder.find(name, label) for name, label in zip(names, labels, strict=True)
    ]
    taken = {file.path for file in exact if file is not None}
    return [
        PhotoMatch(file, is_loose=False)
        if file is not None
        else finder.find_loosely(name, label, taken)
        for file, name, label in zip(exact, names, labels, strict=True)
    ]


def _add(labelled: dict[str, SourcePhoto], photo: SourcePhoto, line: int) -> None:
    other = labelled.setdefault(photo.file.path, photo)
    if other != photo:
        raise _UnusableError(
            f"line {line} lists {photo.file.path} as {_as_text(photo)}, an earlier line "
            f"as {_as_text(other)}: keep one of the rows"
        )


def _as_text(photo: SourcePhoto) -> str:
    return f"{photo.label!r} of {photo.group!r}" if photo.group else repr(photo.label)


def _no_photo_found(table: _Table, first: _Row, finder: PhotoFinder) -> _UnusableError:
    if copies := finder.copies(first[1]):
        return _UnusableError(
            f"names photos that are there several times (line {first[0]}: {first[1]} is "
            f"{quoted_names(copies)}): give the folder of one of them as the source"
        )
    return _UnusableError(
        f"fits none of the photos: none of the {len(table.rows):,} photos that it names "
        f"was found below the source ({_near_miss(first, finder)}; {finder.example()})"
    )


def _missing_photos(
    missing: Sequence[_Row], finder: PhotoFinder
) -> tuple[Finding, ...]:
    nearest = [_near_miss(row, finder) for row in missing[:_MOST_NEAREST]]
    others = [f"line {line}: {photo} ({label})" for line, photo, label in missing]
    return as_findings(
        "photo of the CSV not found",
        nearest + others[_MOST_NEAREST:],
        "add it, or remove the row",
    )


def _near_miss(row: _Row, finder: PhotoFinder) -> str:
    line, photo, label = row
    near = finder.nearest(photo)
    nearest = f", the nearest file is {near}" if near else ""
    return f"line {line}: {photo} ({label}){nearest}"


def _column_findings(
    table: _Table, columns: _Columns, named: NamedColumns
) -> tuple[Finding, ...]:
    subjects = [] if named.group else _known(table, SUBJECT_COLUMNS)
    guess = [_describe(table, columns)] if columns.guessed else []
    return (
        *as_findings(
            "column of the CSV that --group-by does not name",
            [table.header[each] for each in subjects],
            "photos of one subject on both sides make validation look too good",
        ),
        *as_findings(
            "columns of the CSV recognised by their values",
            guess,
            "name them with --photo-column and --label-column",
        ),
    )


def _label_findings(labels: Sequence[str]) -> tuple[Finding, ...]:
    return as_findings(
        "label that R, pandas or Excel write where there is none",
        sorted({label for label in labels if label.casefold() in _MISSING}),
        "it is a class of its own: remove its rows if they have no label",
    )


def _describe(table: _Table, columns: _Columns) -> str:
    labels = quoted_names(table.header[each] for each in columns.labels)
    where = "labels in" if len(columns.labels) == 1 else "a label each in"
    return f"{table.name}: photos in {quoted(table.header[columns.photo])}, {where} {labels}"


def _find_columns(table: _Table, finder: PhotoFinder, named: NamedColumns) -> _Columns:
    known = {*PHOTO_COLUMNS, *LABEL_COLUMNS}
    if any(
        finder.find(cell, "") for cell in table.header if column_key(cell) not in known
    ):
        raise _UnusableError(
            f"begins with a photo ({quoted(','.join(table.header))}): add a first line "
            "that names the columns, such as image,label"
        )
    group = _named(table, named.group, "--group-by") if named.group else None
    photo = _named(table, named.photo, "--photo-column") if named.photo else None
    known_photo = photo is not None
    if photo is None:
        photo, known_photo = _photo_column(table, finder)
    if named.label:
        labels = (_named(table, named.label, "--label-column"),)
        return _Columns(photo, labels, group, not known_photo)
    # A column without a name counts rows.
    free = [
        number
        for number, name in enumerate(table.header)
        if name and number not in {photo, group}
    ]
    by_name = [each for each in _known(table, LABEL_COLUMNS) if each in free]
    if by_name:
        return _Columns(photo, (by_name[0],), group, not known_photo)
    columns = _label_columns(table, free, photo)
    return _Columns(photo, columns, group, len(columns) == 1 or not known_photo)


def _named(table: _Table, wanted: str, option: str) -> int:
    found = [
        number
        for number, name in enumerate(table.header)
        if column_key(name) == column_key(wanted)
    ]
    exact = [each for each in found if table.header[each] == normal_name(wanted)]
    fitting = exact or found
    if len(fitting) != 1:
        count = f"{len(fitting)} columns" if fitting else "no column"
        raise _UnusableError(
            f"has {count} {quoted(wanted)} ({option}); its columns are "
            f"{', '.join(table.header)}"
        )
    return fitting[0]


def _known(table: _Table, names: Sequence[str]) -> list[int]:
    """Numbers of the columns with one of *names*, in the order of *names*."""
    keys = [column_key(name) for name in table.header]
    return [keys.index(name) for name in names if name in keys]


def _photo_column(table: _Table, finder: PhotoFinder) -> tuple[int, bool]:
    """The column of photos, and whether it was recognised by its name."""
    known = _known(table, PHOTO_COLUMNS)
    columns = range(len(table.header))
    likely: list[int] = []
    # Row numbers look like names with lost zeros: try exact names first.
    for find_photo in (finder.find, finder.find_loosely):
        shares = [_share_found(table, each, find_photo) for each in columns]
        best = max(known, key=shares.__getitem__, default=None)
        if best is not None and shares[best] > 0:
            return best, True
        likely = likely or _likely(table, shares)
    if len(likely) == 1:
        return likely[0], False
    if known:
        return known[0], True
    names = quoted_names(table.header[each] for each in likely or columns)
    what = "several" if likely else "no"
    raise _UnusableError(
        f"has {what} columns that hold names of the photos ({names}): name one with "
        "--photo-column"
    )


def _share_found(
    table: _Table, column: int, find_photo: Callable[[str, str], object]
) -> float:
    tried = table.tried(column)
    return sum(find_photo(cell, "") is not None for cell in tried) / len(tried)


def _likely(table: _Table, shares: Sequence[float]) -> list[int]:
    """Columns that name photos, almost all different."""
    return [
        number
        for number, name in enumerate(table.header)
        if name
        and shares[number] >= 0.5
        and len(set(tried := table.tried(number))) >= 0.9 * len(tried)
    ]


def _label_columns(table: _Table, free: list[int], photo: int) -> tuple[int, ...]:
    """The column whose values are labels, or the columns that each are one label."""
    values = {each: {cells[each] for _, cells in table.rows} for each in free}
    flags = tuple(each for each in free if None not in map(parse_flag, values[each]))
    fault = _flag_fault(table, flags, photo)
    if len(flags) > 1 and not fault:
        return flags
    others = {*_known(table, SUBJECT_COLUMNS), *_known(table, _PART_COLUMNS)}
    few = [
        each
        for each in free
        if each not in others and 2 <= len(values[each]) <= len(table.rows) / 2
    ]
    if len(few) == 1:
        return (few[0],)
    if len(few) > 1 and set(few) <= set(flags):
        raise _UnusableError(f"{fault}: name one column with --label-column")
    names = quoted_names(table.header[each] for each in few or range(len(table.header)))
    what = "several columns that could be labels" if few else "no label column"
    raise _UnusableError(f"has {what} ({names}): name one with --label-column")


def _flag_fault(table: _Table, flags: Sequence[int], photo: int) -> str:
    for line, cells in table.rows:
        count = sum(map(bool, (parse_flag(cells[each]) for each in flags)))
        if count != 1:
            return (
                f"line {line} has {count} labels for {quoted(cells[photo])}, and a photo "
                "needs one"
            )
    return ""
