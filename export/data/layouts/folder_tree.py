"""The tree of a source's folders: which only wrap others, are parts, classes or masks.

Folders are judged by their names and by what lies in and beside them; nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from export.data.sources.files import (
    TEST,
    TRAIN,
    VALID,
    Listing,
    SourceFile,
    join_path,
    part_of,
)
from models.text import loose_name, normal_name

FLAT_NAME: Final = re.compile(r"(.+?)\.\d+\.[^.]+$")
"""Kaggle's flat names: the label is the text before the first dot with a number after it."""

_MASKS: Final = re.compile("(masks|segmentations?|annotations?|trimaps|groundtruths?)")
"""Names of folders whose pictures are no photos, letters only."""
_IMAGES: Final = re.compile("(images?|imgs?|photos?|pics?|pictures?|jpe?gs?)")
_PIECE: Final = re.compile(
    "(.*[^a-z])?(images?|imgs?|photos?|pics?|batch|shard)([^a-z]|part|set|batch)*"
)
"""Names of folders that hold pieces of one set: images_001 and images_002."""
_MASK_NAME: Final = re.compile("(.+?)[ _-](mask|segmentation|superpixels)(_[0-9]+)?")


@dataclass(eq=False)
class Folder:
    """A folder: the photos directly in it, and its subfolders that hold photos."""

    name: str
    path: str
    photos: list[SourceFile] = field(default_factory=list)
    folders: dict[str, Folder] = field(default_factory=dict)

    def below(self) -> Iterator[SourceFile]:
        """All photos in it and its subfolders."""
        yield from self.photos
        for folder in self.folders.values():
            yield from folder.below()

    @cached_property
    def normal_names(self) -> frozenset[str]:
        """The names of its subfolders in normal form."""
        return frozenset(map(normal_name, self.folders))

    @cached_property
    def loose_names(self) -> frozenset[str]:
        """The names of its subfolders without case and leading zeros."""
        return frozenset(map(loose_name, self.folders))

    def flat(self) -> list[SourceFile]:
        """The photos directly in it whose names begin with a label."""
        return [photo for photo in self.photos if FLAT_NAME.match(photo.name)]


def read_tree(listing: Listing) -> Folder:
    """The folders of *listing* that hold photos, as a tree."""
    top = Folder("", "")
    for photo in listing.photos:
        folder = top
        for name in photo.folder.split("/") if photo.folder else ():
            path = join_path(folder.path, name)
            folder = folder.folders.setdefault(name, Folder(name, path))
        folder.photos.append(photo)
    return top


def holds_only_folders(folder: Folder) -> bool:
    """Whether *folder*, unwrapped, holds several folders and no photos beside them."""
    inner, skipped = unwrap(folder)
    return len(inner.folders) > 1 and not inner.photos and not skipped


def held_again(folder: Folder, child: Folder) -> list[str]:
    """The folders in *child* with the same names as its neighbours in *folder*."""
    own = loose_name(child.name)
    return [
        name
        for name in unwrap(child)[0].folders
        if own != loose_name(name) and loose_name(name) in folder.loose_names
    ]


def unwrap(folder: Folder) -> tuple[Folder, list[SourceFile]]:
    """The first folder that does more than wrap another, and the photos outside it."""
    skipped: list[SourceFile] = []
    while len(folder.folders) == 1 and not folder.flat():
        (child,) = folder.folders.values()
        if not _has_labels(child) and part_of(child.name) is None:
            break
        skipped += folder.photos
        folder = child
    return folder, skipped


def _has_labels(folder: Folder) -> bool:
    return bool(folder.folders or folder.flat())


def are_only_parts(folder: Folder) -> bool:
    """Whether all folders in *folder* are parts: train beside another, or twice."""
    parts = {part_of(name) for name in folder.folders}
    several = len(parts) > 1 or (len(folder.folders) > 1 and parts == {TRAIN})
    return None not in parts and several


def has_parts(folder: Folder) -> bool:
    """Whether *folder* holds parts, at any depth."""
    children = folder.folders.values()
    return (
        are_only_parts(folder)
        or any(
            part_of(child.name) == TRAIN and _has_labels(child) for child in children
        )
        or any(part_of(child.name) is None and has_parts(child) for child in children)
    )


def are_classes_of_parts(folder: Folder) -> bool:
    """Whether each class is divided into parts: cat/train, cat/test, dog/train."""
    children = folder.folders.values()
    return len(children) > 1 and all(
        not child.photos
        and part_of(child.name) is None
        and TRAIN in {part_of(name) for name in child.folders}
        and all(
            part_of(name) and not part.folders for name, part in child.folders.items()
        )
        for child in children
    )


def unnamed_train(folder: Folder) -> Folder | None:
    """The training folder without that name: images, beside test or valid."""
    parts = [x for name, x in folder.folders.items() if part_of(name, alone=True)]
    others = [child for child in folder.folders.values() if child not in parts]
    if len(others) != 1 or not parts:
        return None
    inner = unwrap(others[0])[0]
    classes = set(inner.folders)
    held = [set(unwrap(part)[0].folders) for part in parts]
    shared = any(len(classes & each) > 1 for each in held)
    unlabelled = not any(held) and (len(classes) > 1 or bool(inner.flat()))
    return others[0] if shared or unlabelled else None


def are_pieces(folder: Folder) -> bool:
    """Whether the folders are pieces of one set (images_001, images_002), not classes."""
    names = {re.sub("[0-9]+", "0", name.lower()) for name in folder.folders}
    return (
        len(folder.folders) > 1
        and len(names) == 1
        and _PIECE.fullmatch(names.pop()) is not None
        and all(len(unwrap(x)[0].folders) < 2 for x in folder.folders.values())
    )


def parts_beside_classes(folder: Folder) -> list[Folder]:
    """Folders named test or valid beside the classes, or beside photos like cat.0.jpg."""
    beside = [
        child
        for name, child in folder.folders.items()
        if part_of(name, alone=True) in {TEST, VALID}
    ]
    classes = len(folder.folders) - len(beside)
    return beside if folder.flat() or classes > 1 else []


def find_repeated(
    folder: Folder, child: Folder
) -> tuple[Folder | None, list[SourceFile]]:
    """*child* unwrapped if it repeats its neighbours: flowers/rose, flowers/flowers/rose."""
    inner, skipped = unwrap(child)
    names = {normal_name(name) for name in inner.folders}
    if not names or (len(names) == 1 and child.name != folder.name):
        return None, []
    again = names <= folder.normal_names and normal_name(child.name) not in names
    return (inner, skipped) if again else (None, [])


def stem(name: str) -> str:
    """The file *name* without its suffix."""
    return name.rpartition(".")[0] or name


def is_mask(photo: SourceFile, stems: Container[str]) -> bool:
    """Whether *photo* is named as a mask of one of the photos with these *stems*."""
    found = _MASK_NAME.fullmatch(stem(photo.name))
    return found is not None and found[1] in stems


def mask_folders(folder: Folder) -> list[Folder]:
    """Folders named like masks, beside a folder of images or beside equal file names."""
    children = list(folder.folders.values())
    masks = [child for child in children if _MASKS.fullmatch(_letters(child.name))]
    others = [child for child in children if child not in masks]
    if not masks:
        return []
    if any(_IMAGES.fullmatch(_letters(child.name)) for child in others):
        return masks
    stems = {stem(photo.name) for photo in folder.photos}
    stems |= {stem(photo.name) for child in others for photo in child.below()}
    return [
        child
        for child in masks
        if all(stem(photo.name) in stems for photo in child.below())
        # Numbers such as 1.jpg are in every class, so they tell nothing.
        and not any(stem(photo.name).isdigit() for photo in child.below())
    ]


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())
