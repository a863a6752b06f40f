"""Photos whose label is in their name (``cat.0.jpg``) or their folder (``cat/0.jpg``)."""

from __future__ import annotations

from pathlib import PurePosixPath

from export.data.checks.findings import Finding, find
from export.data.sources.files import Listing, is_hidden
from export.data.sources.photos import Collection, SourcePhoto
from export.data.sources.shape import (
    FLAT_NAME,
    Shape,
    class_photos,
    find_shape,
    find_test_photos,
    flat_photos,
    photos_below,
)
from models.errors import DatasetError


def collect_flat(listing: Listing) -> Collection:
    """Photos named ``cat.0.jpg``; those of plain number (``12.jpg``) are test photos.

    Raises:
        DatasetError: there are none, or the source is split already.
    """
    shape = find_shape(listing)
    labelled = []
    for photo in flat_photos(listing, shape):
        match = FLAT_NAME.match(photo.name)
        if match:
            labelled.append(SourcePhoto(photo, match[1]))
    numbered = [
        photo
        for photo in listing.photos
        if photo.folder == shape.training and photo.name.partition(".")[0].isdigit()
    ]
    known = {photo.file.path for photo in labelled}
    test = [each for each in numbered if each.path not in known]
    test += find_test_photos(listing, shape)
    _check(labelled, listing, shape, "named like cat.0.jpg")
    return Collection("flat", tuple(labelled), tuple(map(SourcePhoto, test)))


def collect_classes(listing: Listing) -> Collection:
    """Photos in class folders, the label being the folder's name.

    Raises:
        DatasetError: there are none, or the source is split already.
    """
    shape = find_shape(listing)
    start = len(shape.training) + 1 if shape.training else 0
    labelled = [
        SourcePhoto(photo, photo.path[start:].partition("/")[0])
        for photo in class_photos(listing, shape)
    ]
    _check(labelled, listing, shape, "in class folders")
    return Collection(
        "classes",
        tuple(labelled),
        tuple(map(SourcePhoto, find_test_photos(listing, shape))),
        _odd_folders(listing, shape, {photo.label for photo in labelled}),
    )


def _odd_folders(
    listing: Listing, shape: Shape, labels: set[str]
) -> tuple[Finding, ...]:
    tests = {*shape.test, shape.valid}
    inside = [
        name
        for name in listing.folders
        if name.rpartition("/")[0] == shape.training and name not in tests
    ]
    names = {name: PurePosixPath(name).name for name in inside}
    hidden = [name for name, last in names.items() if is_hidden(last)]
    empty = [
        name
        for name, last in names.items()
        if name not in hidden and last not in labels
    ]
    return (
        *find("hidden folder", hidden, "it is no class and was left out"),
        *find("empty class folder", empty, "add photos or remove the folder"),
    )


def _check(
    labelled: list[SourcePhoto], listing: Listing, shape: Shape, what: str
) -> None:
    if not labelled:
        message = f"no photos {what} below {shape.training or 'the source'}: see --help"
        raise DatasetError(message)
    if shape.training.endswith("train") and photos_below(listing, shape.valid):
        message = (
            f"the source is split already ({shape.training} and {shape.valid}): give it "
            "to kennel train as it is, or its train folder to kennel prepare"
        )
        raise DatasetError(message)
