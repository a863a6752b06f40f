"""The labelled photos of a folder that nobody has prepared, with their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.data.checks.names import check_labels
from export.data.sources.archives import Archives
from export.data.sources.files import walk_folder
from export.data.sources.layouts import Reading, collect_photos
from export.data.sources.photos import Collection, SourcePhoto
from export.data.split import Photo
from export.data.threads import map_files
from models.errors import DatasetError
from models.files import hash_file


def survey_folder(folder: Path) -> Collection:
    """What `kennel prepare` would find in *folder*, archives left closed.

    Raises:
        NotFoundError: there is no such folder.
        DatasetError: nothing labels its photos, or there are not two classes.
    """
    with Archives(folder) as archives:
        found = collect_photos(walk_folder(folder), Reading(), archives)
    if any(photo.file.origin.members for photo in found.labelled):
        message = f"{folder} holds IDX files: make photos of them with kennel prepare"
        raise DatasetError(message)
    check_labels((*found.labelled, *found.valid))
    return found


def list_photos(folder: Path) -> list[Photo]:
    """The labelled photos of *folder*, by label and path.

    Raises:
        NotFoundError: there is no such folder.
        DatasetError: nothing labels its photos, there are not two classes, or it has
            several parts.
    """
    found = survey_folder(folder)
    labelled_test = [photo for photo in found.test if photo.label]
    if found.valid or labelled_test:
        message = (
            f"{folder} has several parts ({', '.join(sorted(found.parts))}): give the "
            "folder of one of them"
        )
        raise DatasetError(message)
    return hash_photos(found.labelled)


def hash_photos(photos: Sequence[SourcePhoto]) -> list[Photo]:
    """*photos* with their hashes, by label and path."""
    photos = sorted(photos, key=lambda photo: (photo.label, photo.file.path))
    hashes = map_files(hash_file, [photo.file.origin.location for photo in photos])
    return [
        Photo(photo.file.path, photo.label, sha256)
        for photo, sha256 in zip(photos, hashes, strict=True)
    ]
