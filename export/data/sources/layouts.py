"""Telling the layouts of labelled photos apart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from export.data.checks.findings import find
from export.data.sources.archives import Archives
from export.data.sources.files import Listing
from export.data.sources.folders import collect_classes, collect_flat
from export.data.sources.idx import collect_idx, find_idx
from export.data.sources.lists import FoundLists, NamedColumns, find_lists
from export.data.sources.photos import Collection
from export.data.sources.shape import class_photos, find_shape, flat_photos
from models.errors import DatasetError, InvalidRequestError
from models.names import normal_name


@dataclass(frozen=True)
class Reading:
    """How to read a source; what is None or empty is found out."""

    layout: str | None = None
    csv: Path | None = None
    group_by: str | None = None
    labels: tuple[str, ...] = ()
    photo_column: str | None = None
    label_column: str | None = None

    @property
    def columns(self) -> NamedColumns:
        """The columns of the CSV that the user has named."""
        return NamedColumns(self.photo_column, self.label_column, self.group_by)


def collect_photos(
    listing: Listing, reading: Reading, archives: Archives
) -> Collection:
    """The photos of a source, labelled as its layout says.

    Raises:
        InvalidRequestError: options that the layout has no use for.
        DatasetError: no layout fits, or the photos do not fit the layout.
    """
    lists = FoundLists()
    if reading.layout in {None, "csv"}:
        lists = find_lists(listing, archives, reading.csv, reading.columns)
    layout = reading.layout or _detect(listing, reading, lists)
    _check_options(layout, reading)
    if layout == "idx":
        found = collect_idx(listing, reading.labels)
    elif layout == "csv":
        found = lists.only()
    else:
        found = (collect_flat if layout == "flat" else collect_classes)(listing)
        _check_classes(found, lists)
    return _normal(
        replace(
            found,
            findings=(
                *found.findings,
                *find("unsafe zip member", listing.unsafe, "it was left out"),
                *find(
                    "CSV file not taken",
                    lists.reasons(),
                    "remove it, or say with --csv or --layout what counts",
                ),
            ),
        )
    )


def _detect(listing: Listing, reading: Reading, lists: FoundLists) -> str:
    if ("train", "images") in find_idx(listing):
        return "idx"
    if reading.csv or reading.columns != NamedColumns() or lists.usable:
        return "csv"
    shape = find_shape(listing)
    if flat_photos(listing, shape):
        return "flat"
    if class_photos(listing, shape):
        return "classes"
    seen = f" ({'; '.join(lists.reasons())})" if lists.refused else ""
    message = (
        "no labelled photos: neither cat.0.jpg names, nor class folders, nor a CSV of "
        f"photos and labels{seen}, nor IDX files. Give the folder that holds them, or "
        "--layout"
    )
    raise DatasetError(message)


def _check_classes(found: Collection, lists: FoundLists) -> None:
    """Refuse one class (a folder called train, say) beside a CSV that was not taken."""
    labels = {photo.label for photo in found.labelled}
    if len(labels) < 2 and lists.refused:
        message = (
            f"{len(labels)} classes ({', '.join(sorted(labels))}), and no CSV file that "
            f"labels the photos: {'; '.join(lists.reasons())}"
        )
        raise DatasetError(message)


def _normal(found: Collection) -> Collection:
    """*found* with labels and groups in their normal form, and what that has merged."""
    written = defaultdict(set)
    for photo in found.labelled:
        written[normal_name(photo.label)].add(photo.label)
    merged = [
        " and ".join(ascii(each) for each in sorted(names))
        for names in written.values()
        if len(names) > 1
    ]
    labelled = tuple(
        replace(photo, label=normal_name(photo.label), group=normal_name(photo.group))
        for photo in found.labelled
    )
    same = find(
        "labels that are the same text, taken as one",
        merged,
        "give them one name: they differ in how an accent is written, or in spaces",
    )
    return replace(found, labelled=labelled, findings=(*same, *found.findings))


def _check_options(layout: str, reading: Reading) -> None:
    for option, column in (
        ("--group-by", reading.group_by),
        ("--photo-column", reading.photo_column),
        ("--label-column", reading.label_column),
    ):
        if column and layout != "csv":
            message = (
                f"{option} {column} names a column of a CSV, but the layout is {layout}: "
                "give --csv FILE"
            )
            raise InvalidRequestError(message)
    if reading.labels and layout != "idx":
        message = f"--labels is for IDX files, but the layout is {layout}: leave it out"
        raise InvalidRequestError(message)
