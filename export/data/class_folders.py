"""The photos in class folders, in a stable order and with their hashes."""

from __future__ import annotations

from pathlib import Path

from export.data.checks.names import check_utf8
from export.data.sources.files import PHOTO_SUFFIXES
from export.data.split import Photo
from export.data.threads import map_files
from models.errors import DatasetError
from models.names import normal_name
from models.storage import hash_file


def list_photos(folder: Path, part: str = "") -> list[Photo]:
    """The photos in the class folders of *folder*, or of its *part*, by label and name.

    Raises:
        DatasetError: no folder, fewer than two classes, an empty class folder, or a
            name that is not UTF-8.
    """
    root = folder / part
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder: give one with class folders")
    classes = sorted(
        each for each in root.iterdir() if each.is_dir() and each.name[0] != "."
    )
    if len({normal_name(each.name) for each in classes}) < 2:
        message = f"{root} holds {len(classes)} class folders: at least two are needed"
        raise DatasetError(message)
    files = [file for each in classes for file in _class_files(each)]
    check_utf8(str(file.relative_to(folder)) for file in files)
    hashes = map_files(hash_file, files)
    return [
        Photo(str(file.relative_to(folder)), normal_name(file.parent.name), sha256)
        for file, sha256 in zip(files, hashes, strict=True)
    ]


def _class_files(class_folder: Path) -> list[Path]:
    files = sorted(
        each
        for each in class_folder.iterdir()
        if each.suffix.lower() in PHOTO_SUFFIXES and each.is_file()
    )
    if not files:
        message = f"class folder {class_folder} holds no photos: add some or remove it"
        raise DatasetError(message)
    return files
