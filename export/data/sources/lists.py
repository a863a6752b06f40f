"""A CSV that says which photo shows what, and whom: State Farm's driver_imgs_list.csv.

Columns are told by name, in any order; photos may lie anywhere below the source as long
as name, or name and class folder, tell them apart.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from export.data.checks.findings import find
from export.data.sources.files import Listing, SourceFile
from export.data.sources.photos import Collection, SourcePhoto
from models.errors import DatasetError

PHOTO_COLUMNS: Final = ("img", "image", "file", "filename", "id")
LABEL_COLUMNS: Final = ("classname", "label", "class", "category")
SUBJECT_COLUMNS: Final = ("subject", "patient", "driver", "person")
MAX_LIST_BYTES: Final = 256 * 1024**2


def has_label_columns(text: str) -> bool:
    """Whether a CSV's first line names a photo and a label column."""
    columns = next(csv.reader(io.StringIO(text)), [])
    found = {name.strip().lower() for name in columns}
    return not (found.isdisjoint(PHOTO_COLUMNS) or found.isdisjoint(LABEL_COLUMNS))


def collect_list(
    listing: Listing, text: str, name: str, group_by: str | None
) -> Collection:
    """The photos that the CSV *text*, called *name*, labels; *group_by* is a column.

    Photos below a folder called test are test photos, unless the CSV labels them.

    Raises:
        DatasetError: columns are missing, a photo has two labels, or none is found.
    """
    rows = _read_rows(text, name)
    columns = _columns(rows, name, group_by)
    labelled, missing = _label(rows, columns, listing, name)
    if not labelled:
        message = f"none of the {len(rows)} photos in {name} was found below the source"
        raise DatasetError(message)
    subjects = [] if group_by else [x for x in rows[0] if x.lower() in SUBJECT_COLUMNS]
    return Collection(
        "csv",
        tuple(labelled[path] for path in sorted(labelled)),
        tuple(
            SourcePhoto(photo)
            for photo in listing.photos
            if photo.is_test() and photo.path not in labelled
        ),
        (
            *find("photo of the CSV not found", missing, "add it, or remove the row"),
            *find(
                "column of the CSV that --group-by does not name",
                subjects,
                "photos of one subject on both sides make validation look too good",
            ),
        ),
    )


def _label(
    rows: Sequence[Mapping[str, str]],
    columns: Mapping[str, str],
    listing: Listing,
    name: str,
) -> tuple[dict[str, SourcePhoto], list[str]]:
    finder = _PhotoFinder(listing.photos)
    labelled: dict[str, SourcePhoto] = {}
    missing = []
    for row in rows:
        photo, label = row[columns["photo"]], row[columns["label"]]
        group = row[columns["group"]] if "group" in columns else ""
        file = finder.find(photo, label)
        if file is None:
            missing.append(f"{photo} ({label})")
        else:
            _add(labelled, SourcePhoto(file, label, group), name)
    return labelled, missing


class _PhotoFinder:
    def __init__(self, photos: Iterable[SourceFile]) -> None:
        self._by_name: dict[str, list[SourceFile]] = defaultdict(list)
        for photo in photos:
            self._by_name[photo.name].append(photo)
            self._by_name[PurePosixPath(photo.name).stem].append(photo)

    def find(self, name: str, label: str) -> SourceFile | None:
        found = self._by_name.get(PurePosixPath(name).name, [])
        if "/" in name:
            found = [photo for photo in found if f"/{photo.path}".endswith(f"/{name}")]
        if len(found) > 1:
            found = [
                photo for photo in found if PurePosixPath(photo.folder).name == label
            ]
        return found[0] if len(found) == 1 else None


def _add(labelled: dict[str, SourcePhoto], photo: SourcePhoto, name: str) -> None:
    other = labelled.setdefault(photo.file.path, photo)
    if other != photo:
        message = (
            f"{name} lists {photo.file.path} as {other.label!r} {other.group} and as "
            f"{photo.label!r} {photo.group}: keep one of the rows"
        )
        raise DatasetError(message)


def _read_rows(text: str, name: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise DatasetError(f"{name} cannot be read as CSV: {error}") from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            message = (
                f"{name} row {number} has not {len(reader.fieldnames or [])} fields"
            )
            raise DatasetError(message)
    if not rows:
        raise DatasetError(f"{name} holds no rows: it needs a header and one per photo")
    return rows


def _columns(
    rows: Sequence[Mapping[str, str]], name: str, group_by: str | None
) -> dict[str, str]:
    wanted: dict[str, tuple[str, ...]] = {
        "photo": PHOTO_COLUMNS,
        "label": LABEL_COLUMNS,
    }
    if group_by:
        wanted["group"] = (group_by.lower(),)
    present = {column.strip().lower(): column for column in rows[0]}
    columns = {}
    for kind, names in wanted.items():
        found = [present[each] for each in names if each in present]
        if not found:
            message = (
                f"{name} has no {kind} column ({' or '.join(names)}); its columns are "
                f"{', '.join(rows[0])}"
            )
            raise DatasetError(message)
        columns[kind] = found[0]
    return columns
