"""Which folders of a source hold the labelled photos, and which the test photos."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from export.data.sources.files import Listing, SourceFile

FLAT_NAME: Final = re.compile(r"(.+?)\.\d+\.[^.]+$")
"""Kaggle's: the label is the text before the first dot that a number follows."""


@dataclass(frozen=True)
class Shape:
    """Which folder of a source holds the labelled photos, and which the test photos."""

    training: str
    test: tuple[str, ...]
    valid: str


def find_shape(listing: Listing) -> Shape:
    """Look for a ``train`` folder; without one the labelled photos lie at the top.

    A single folder around everything, as many zip files have it, does not count.
    """
    trains = [
        name
        for name in listing.folders
        if PurePosixPath(name).name.lower() == "train" and _is_training(listing, name)
    ]
    if trains:
        training = min(trains, key=lambda name: (name.count("/"), name))
        top = training.rpartition("/")[0]
    else:
        training = top = _skip_wrapper(listing)
    tests = (_join(top, "test"), _join(top, "test1"))
    return Shape(training, tests, _join(top, "valid"))


def flat_photos(listing: Listing, shape: Shape) -> list[SourceFile]:
    """The photos right in the training folder whose names begin with a label."""
    return [
        photo
        for photo in listing.photos
        if photo.folder == shape.training and FLAT_NAME.match(photo.name)
    ]


def class_photos(listing: Listing, shape: Shape) -> list[SourceFile]:
    """The photos in subfolders of the training folder, test folders left out."""
    test = {each.path for each in find_test_photos(listing, shape)}
    return [
        photo
        for photo in photos_below(listing, shape.training)
        if photo.folder != shape.training and photo.path not in test
    ]


def find_test_photos(listing: Listing, shape: Shape) -> list[SourceFile]:
    """The photos in the test folders."""
    return [photo for name in shape.test for photo in photos_below(listing, name)]


def photos_below(listing: Listing, folder: str) -> list[SourceFile]:
    """The photos in *folder* and its subfolders; "" is the top."""
    prefix = f"{folder}/" if folder else ""
    return [photo for photo in listing.photos if photo.path.startswith(prefix)]


def _is_training(listing: Listing, folder: str) -> bool:
    # A class may be called train as well; then its photos lie right in it.
    return any(
        photo.folder != folder or FLAT_NAME.match(photo.name)
        for photo in photos_below(listing, folder)
    )


def _skip_wrapper(listing: Listing) -> str:
    folders = {photo.folder for photo in listing.photos}
    tops = {folder.partition("/")[0] for folder in folders}
    if len(tops) != 1 or folders == {""}:
        return ""
    top = tops.pop()
    flat = any(
        photo.folder == top and FLAT_NAME.match(photo.name) for photo in listing.photos
    )
    return top if flat or len(folders - {top}) > 1 else ""


def _join(top: str, name: str) -> str:
    return f"{top}/{name}" if top else name
