"""Telling the layouts of labelled photos apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.data.checks.findings import find
from export.data.sources.archives import Archives
from export.data.sources.files import Listing, Origin, SourceFile
from export.data.sources.folders import collect_classes, collect_flat
from export.data.sources.idx import collect_idx, find_idx
from export.data.sources.lists import MAX_LIST_BYTES, collect_list, has_label_columns
from export.data.sources.photos import Collection
from export.data.sources.shape import class_photos, find_shape, flat_photos
from models.errors import DatasetError, InvalidImageError, InvalidRequestError

_SUBMISSION: Final = "sample_submission"  # has id and label, but no labels


@dataclass(frozen=True)
class Reading:
    """How to read a source; what is None or empty is found out."""

    layout: str | None = None
    csv: Path | None = None
    group_by: str | None = None
    labels: tuple[str, ...] = ()


def collect_photos(
    listing: Listing, reading: Reading, archives: Archives
) -> Collection:
    """The photos of a source, labelled as its layout says.

    Raises:
        InvalidRequestError: options that the layout has no use for.
        DatasetError: no layout fits, or the photos do not fit the layout.
    """
    texts = _lists(listing, reading, archives)
    layout = reading.layout or _detect(listing, reading, texts)
    _check_options(layout, reading)
    if layout == "idx":
        found = collect_idx(listing, reading.labels)
    elif layout == "csv":
        found = _collect_only_list(listing, texts, reading.group_by)
    else:
        found = (collect_flat if layout == "flat" else collect_classes)(listing)
    unsafe = find("unsafe zip member", listing.unsafe, "it was left out")
    return Collection(
        found.layout, found.labelled, found.test, (*found.findings, *unsafe)
    )


def _detect(listing: Listing, reading: Reading, texts: dict[str, str]) -> str:
    if ("train", "images") in find_idx(listing):
        return "idx"
    if reading.csv or reading.group_by:
        return "csv"
    shape = find_shape(listing)
    if flat_photos(listing, shape):
        return "flat"
    if texts:
        return "csv"
    if class_photos(listing, shape):
        return "classes"
    message = (
        "no labelled photos: neither cat.0.jpg names, nor class folders, nor a CSV with "
        "img and classname, nor IDX files. Give the folder that holds them, or --layout"
    )
    raise DatasetError(message)


def _check_options(layout: str, reading: Reading) -> None:
    if reading.group_by and layout != "csv":
        message = (
            f"--group-by {reading.group_by} names a column of a CSV, but the layout is "
            f"{layout}: give --csv FILE"
        )
        raise InvalidRequestError(message)
    if reading.labels and layout != "idx":
        message = f"--labels is for IDX files, but the layout is {layout}: leave it out"
        raise InvalidRequestError(message)


def _collect_only_list(
    listing: Listing, texts: dict[str, str], group_by: str | None
) -> Collection:
    if len(texts) != 1:
        message = (
            f"{len(texts)} CSV files with img and classname columns "
            f"({', '.join(sorted(texts)) or 'none'}): name one with --csv"
        )
        raise DatasetError(message)
    name, text = next(iter(texts.items()))
    return collect_list(listing, text, name, group_by)


def _lists(listing: Listing, reading: Reading, archives: Archives) -> dict[str, str]:
    if reading.csv is not None:
        size = reading.csv.stat().st_size
        given = SourceFile(reading.csv.name, size, Origin(reading.csv))
        return {given.path: _text(given, archives)}
    if reading.layout not in {None, "csv"}:
        return {}
    found = {
        file.path: _text(file, archives)
        for file in listing.files
        if file.name.lower().endswith(".csv")
        and file.path.count("/") <= 1
        and not file.name.startswith(_SUBMISSION)
    }
    return {name: text for name, text in found.items() if has_label_columns(text)}


def _text(file: SourceFile, archives: Archives) -> str:
    if file.size > MAX_LIST_BYTES:
        raise DatasetError(f"{file.path} is larger than {MAX_LIST_BYTES:,} bytes")
    try:
        if file.origin.members:
            content = archives.read(file.origin)
        else:
            content = file.origin.location.read_bytes()
        return content.decode("utf-8-sig")
    except (InvalidImageError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file.path} cannot be read as CSV: {error}") from error
