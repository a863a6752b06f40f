"""Labels from folders (``cat/0.jpg``) or from file names (``cat.0.jpg``).

The folder tree is walked once, to see which folders only wrap others, which are parts
(train, valid, test) and which are classes. Every photo is taken, or left out with a
reason.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from export.data.sources.files import (
    TEST,
    TRAIN,
    VALID,
    CollectedPhotos,
    Listing,
    SourceFile,
    SourcePhoto,
    as_findings,
    join_path,
    part_of,
)
from models.errors import DatasetError, quoted, quoted_names
from models.text import loose_name, normal_name

FLAT_NAME: Final = re.compile(r"(.+?)\.\d+\.[^.]+$")
"""Kaggle's flat names: the label is the text before the first dot with a number after it."""

_BESIDE_CLASSES: Final = "photo beside the class folders"
_BESIDE_PARTS: Final = "photo beside the folders of the parts"
_NO_LABEL: Final = "photo without a label"
NOT_IN_TRAIN: Final = "test photo of a class that is not in train"
IN_PIECES: Final = "photo in folders that differ in a number only"
_NOT_FLAT: Final = "photo that is not named as the others are"
_MASK: Final = "mask or annotation of a photo"

_MASKS: Final = re.compile("(masks|segmentations?|annotations?|trimaps|groundtruths?)")
"""Names of folders whose pictures are no photos, letters only."""
_IMAGES: Final = re.compile("(images?|imgs?|photos?|pics?|pictures?|jpe?gs?)")
_PIECE: Final = re.compile(
    "(.*[^a-z])?(images?|imgs?|photos?|pics?|batch|shard)([^a-z]|part|set|batch)*"
)
"""Names of folders that hold pieces of one set: images_001 and images_002."""
_MASK_NAME: Final = re.compile("(.+?)[ _-](mask|segmentation|superpixels)(_[0-9]+)?")

_REPEATED: Final = "folder that holds the classes beside it again"
_OF_FOLDERS: Final = "class folder of folders"
EMPTY: Final = "empty class folder"
_REMEDIES: Final = {
    _REPEATED: "its photos were taken with theirs; remove it if they are the same",
    _OF_FOLDERS: "it is one class; if its folders are the classes, give it as the source",
    EMPTY: "add photos or remove the folder",
}


def collect_from_folders(
    listing: Listing, layout: str | None = None
) -> CollectedPhotos:
    """The photos of *listing* by part and label, from folders or file names.

    *layout* is flat, classes or None: the one that labels more photos. Folders that only
    wrap others are skipped at any depth; parts are recognised by name (`part_of`). Test
    photos have a label if they lie in folders of the training classes. ``labelled`` is
    empty if no photo has a label.

    Raises:
        DatasetError: two folders hold parts of their own, there are parts but no
            training part, or several folders hold the same folders.
    """
    collector = _Collector(listing, layout)
    tree = _tree(listing)
    collector.leave_masks(tree)
    collector.place(tree)
    return collector.collection()


@dataclass(eq=False)
class _Folder:
    """A folder: the photos directly in it, and its subfolders that hold photos."""

    name: str
    path: str
    photos: list[SourceFile] = field(default_factory=list)
    folders: dict[str, _Folder] = field(default_factory=dict)

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


def _tree(listing: Listing) -> _Folder:
    top = _Folder("", "")
    for photo in listing.photos:
        folder = top
        for name in photo.folder.split("/") if photo.folder else ():
            path = join_path(folder.path, name)
            folder = folder.folders.setdefault(name, _Folder(name, path))
        folder.photos.append(photo)
    return top


class _Collector:
    """Sorts the photos of a listing into parts and labels, folder by folder."""

    def __init__(self, listing: Listing, layout: str | None) -> None:
        self._listing = listing
        self._requested = layout
        self._layout = layout or "classes"
        self._labelled: dict[str, list[SourcePhoto]] = defaultdict(list)
        self._unlabelled: dict[str, list[SourceFile]] = defaultdict(list)
        self._parts: dict[str, str] = {}
        self._left: dict[str, str] = {}
        self._examples: dict[str, list[str]] = defaultdict(list)

    def leave_masks(self, folder: _Folder) -> None:
        """Take masks and annotations that lie beside their photos out of *folder*."""
        stems = {_stem(photo.name) for photo in folder.photos}
        photos: list[SourceFile] = []
        masks: list[SourceFile] = []
        for photo in folder.photos:
            (masks if _is_mask(photo, stems) else photos).append(photo)
        folder.photos = photos
        for child in _mask_folders(folder):
            del folder.folders[child.name]
            masks += child.below()
        self._leave(_MASK, masks)
        for child in folder.folders.values():
            self.leave_masks(child)

    def place(self, folder: _Folder) -> None:
        """Sort the photos of *folder*, whose part is not known yet, into parts."""
        folder, skipped = _unwrap(folder)
        self._leave(_BESIDE_CLASSES, skipped)
        if _are_classes_of_parts(folder):
            self._place_classes_of_parts(folder)
        elif _has_parts(folder):
            self._place_parts(folder)
        elif (train := _unnamed_train(folder)) is not None:
            for child in folder.folders.values():
                self._take(
                    child, TRAIN if child is train else part_of(child.name) or TEST
                )
            self._leave(_BESIDE_PARTS, folder.photos)
        else:
            for child in _parts_beside_classes(folder):
                del folder.folders[child.name]
                self._take(child, part_of(child.name) or TEST)
            self._take(folder, TRAIN)

    def _place_classes_of_parts(self, folder: _Folder) -> None:
        for label, child in folder.folders.items():
            for name, photos in child.folders.items():
                part = part_of(name) or TRAIN
                self._parts[photos.path] = part
                self._label(part, label, photos)
        self._leave(_BESIDE_CLASSES, folder.photos)

    def _place_parts(self, folder: _Folder) -> None:
        children = list(folder.folders.values())
        own = [child for child in children if part_of(child.name)]
        others = [child for child in children if child not in own]
        for child in own:
            self._take(child, part_of(child.name) or TRAIN)
        if all(part_of(child.name) != TRAIN for child in own):
            inner = [child for child in others if _has_parts(child)]
            if len(inner) != 1:
                raise _no_train(own, inner)
            others.remove(inner[0])
            self.place(inner[0])
        self._leave(_BESIDE_PARTS, folder.photos)
        for child in others:
            self._leave(_BESIDE_PARTS, child.below())

    def _take(self, folder: _Folder, part: str) -> None:
        folder, skipped = _unwrap(folder)
        if part == TEST:
            self._unlabelled[TEST] += skipped
        else:
            self._leave(_BESIDE_CLASSES, skipped)
        if part == TRAIN and _are_only_parts(folder):
            self._place_parts(folder)
            return
        self._parts[folder.path] = part
        nested = [photo for child in folder.folders.values() for photo in child.below()]
        layout = "flat" if len(folder.flat()) > len(nested) else "classes"
        if part != TEST:
            layout = self._requested or layout
        if part == TRAIN:
            self._layout = layout
        if part == TRAIN and self._requested is None and layout == "classes":
            _check_variants(folder)
        if layout == "flat":
            self._take_flat(folder, part)
            self._leave(_NOT_FLAT, nested)
        else:
            self._take_classes(folder, part)

    def _take_flat(self, folder: _Folder, part: str) -> None:
        for photo in folder.photos:
            match = FLAT_NAME.match(photo.name)
            numbered = part == TRAIN and photo.name.partition(".")[0].isdigit()
            if match:
                self._labelled[part].append(SourcePhoto(photo, match[1]))
            elif part == TEST or numbered:
                self._unlabelled[TEST].append(photo)
            else:
                self._leave(_NOT_FLAT, [photo])

    def _take_classes(self, folder: _Folder, part: str) -> None:
        classes = []
        if part == TRAIN and self._requested is None and _are_pieces(folder):
            self._leave(IN_PIECES, folder.below())
            return
        for child in folder.folders.values():
            copy, skipped = _repeated(folder, child)
            if copy is None:
                classes.append(child)
                continue
            self._examples[_REPEATED].append(child.path)
            classes += copy.folders.values()
            self._leave(_BESIDE_CLASSES, [*skipped, *copy.photos])
        for child in classes:
            self._label(part, child.name, child)
        if part == TEST or not classes:
            self._unlabelled[part] += folder.photos
        else:
            self._leave(_BESIDE_CLASSES, folder.photos)
        if part != TEST:
            self._report_folders(folder)

    def _report_folders(self, folder: _Folder) -> None:
        repeated = self._examples[_REPEATED]
        self._examples[_OF_FOLDERS] += [
            child.path
            for child in folder.folders.values()
            if child.path not in repeated
            and (_holds_only_folders(child) or _held_again(folder, child))
        ]
        prefix = f"{folder.path}/" if folder.path else ""
        names, left = (
            {x[len(prefix) :].partition("/")[0] for x in paths if x.startswith(prefix)}
            for paths in (self._listing.folders, self._left)
        )
        self._examples[EMPTY] += [
            prefix + name
            for name in sorted(names - set(folder.folders) - left)
            if part_of(name, alone=True) is None
        ]

    def _label(self, part: str, label: str, folder: _Folder) -> None:
        self._labelled[part] += [SourcePhoto(photo, label) for photo in folder.below()]

    def _leave(self, reason: str, photos: Iterable[SourceFile]) -> None:
        self._left.update((photo.path, reason) for photo in photos)

    def collection(self) -> CollectedPhotos:
        """All photos by part, with what was left out."""
        labels = {normal_name(photo.label) for photo in self._labelled[TRAIN]}
        valid = {normal_name(photo.label) for photo in self._labelled[VALID]}
        if len(valid) == 1 and not valid & labels:  # val/images: no class
            photos = self._labelled.pop(VALID)
            self._unlabelled[VALID] += [photo.file for photo in photos]
        known, strange = [], []
        for photo in self._labelled[TEST]:
            if normal_name(photo.label) in labels:
                known.append(photo)
            else:
                strange.append(photo.file)
        if known:
            self._leave(NOT_IN_TRAIN, strange)
        else:
            self._unlabelled[TEST] += strange
        self._leave(_NO_LABEL, [*self._unlabelled[TRAIN], *self._unlabelled[VALID]])
        return CollectedPhotos(
            layout=self._layout,
            labelled=_by_path(self._labelled[TRAIN]),
            valid=_by_path(self._labelled[VALID]),
            test=_by_path([*known, *map(SourcePhoto, self._unlabelled[TEST])]),
            findings=tuple(
                finding
                for kind, remedy in _REMEDIES.items()
                for finding in as_findings(kind, self._examples[kind], remedy)
            ),
            parts=self._parts,
            left=self._left,
        )


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _is_mask(photo: SourceFile, stems: Container[str]) -> bool:
    found = _MASK_NAME.fullmatch(_stem(photo.name))
    return found is not None and found[1] in stems


def _mask_folders(folder: _Folder) -> list[_Folder]:
    """Folders named like masks, beside a folder of images or beside equal file names."""
    children = list(folder.folders.values())
    masks = [child for child in children if _MASKS.fullmatch(_letters(child.name))]
    others = [child for child in children if child not in masks]
    if not masks:
        return []
    if any(_IMAGES.fullmatch(_letters(child.name)) for child in others):
        return masks
    stems = {_stem(photo.name) for photo in folder.photos}
    stems |= {_stem(photo.name) for child in others for photo in child.below()}
    return [
        child
        for child in masks
        if all(_stem(photo.name) in stems for photo in child.below())
        # Numbers such as 1.jpg are in every class, so they tell nothing.
        and not any(_stem(photo.name).isdigit() for photo in child.below())
    ]


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


def _check_variants(folder: _Folder) -> None:
    """Refuse folders that all hold the same folders, or the same as beside them.

    Either could be the classes.

    Raises:
        DatasetError: there are such folders; the message names them.
    """
    children = list(folder.folders.values())
    held = [set(_unwrap(child)[0].folders) for child in children]
    shared = set[str].intersection(*held) if len(held) > 1 else set()
    if len(shared) > 1:
        message = (
            f"{quoted_names(child.path for child in children)} hold the same folders "
            f"({quoted_names(sorted(shared))}). If these are the classes, give one of "
            "the outer folders as the source; if the outer ones are, use kennel prepare "
            "--layout classes"
        )
        raise DatasetError(message)
    for child in children:
        again = _held_again(folder, child)
        if len(again) > 1 and _repeated(folder, child)[0] is None:
            message = (
                f"{quoted(child.path)} holds folders with the names of those beside it "
                f"({quoted_names(again)}) and others: remove it if it is a copy, or use "
                "kennel prepare --layout classes if it is a class"
            )
            raise DatasetError(message)


def _holds_only_folders(folder: _Folder) -> bool:
    inner, skipped = _unwrap(folder)
    return len(inner.folders) > 1 and not inner.photos and not skipped


def _held_again(folder: _Folder, child: _Folder) -> list[str]:
    """The folders in *child* with the same names as its neighbours in *folder*."""
    own = loose_name(child.name)
    return [
        name
        for name in _unwrap(child)[0].folders
        if own != loose_name(name) and loose_name(name) in folder.loose_names
    ]


def _unwrap(folder: _Folder) -> tuple[_Folder, list[SourceFile]]:
    """The first folder that does more than wrap another, and the photos outside it."""
    skipped: list[SourceFile] = []
    while len(folder.folders) == 1 and not folder.flat():
        (child,) = folder.folders.values()
        if not _has_labels(child) and part_of(child.name) is None:
            break
        skipped += folder.photos
        folder = child
    return folder, skipped


def _has_labels(folder: _Folder) -> bool:
    return bool(folder.folders or folder.flat())


def _are_only_parts(folder: _Folder) -> bool:
    parts = {part_of(name) for name in folder.folders}
    several = len(parts) > 1 or (len(folder.folders) > 1 and parts == {TRAIN})
    return None not in parts and several


def _has_parts(folder: _Folder) -> bool:
    children = folder.folders.values()
    return (
        _are_only_parts(folder)
        or any(
            part_of(child.name) == TRAIN and _has_labels(child) for child in children
        )
        or any(part_of(child.name) is None and _has_parts(child) for child in children)
    )


def _are_classes_of_parts(folder: _Folder) -> bool:
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


def _unnamed_train(folder: _Folder) -> _Folder | None:
    """The training folder without that name: images, beside test or valid."""
    parts = [x for name, x in folder.folders.items() if part_of(name, alone=True)]
    others = [child for child in folder.folders.values() if child not in parts]
    if len(others) != 1 or not parts:
        return None
    inner = _unwrap(others[0])[0]
    classes = set(inner.folders)
    held = [set(_unwrap(part)[0].folders) for part in parts]
    shared = any(len(classes & each) > 1 for each in held)
    unlabelled = not any(held) and (len(classes) > 1 or bool(inner.flat()))
    return others[0] if shared or unlabelled else None


def _are_pieces(folder: _Folder) -> bool:
    """Whether the folders are pieces of one set (images_001, images_002), not classes."""
    names = {re.sub("[0-9]+", "0", name.lower()) for name in folder.folders}
    return (
        len(folder.folders) > 1
        and len(names) == 1
        and _PIECE.fullmatch(names.pop()) is not None
        and all(len(_unwrap(x)[0].folders) < 2 for x in folder.folders.values())
    )


def _parts_beside_classes(folder: _Folder) -> list[_Folder]:
    """Folders named test or valid beside the classes, or beside photos like cat.0.jpg."""
    beside = [
        child
        for name, child in folder.folders.items()
        if part_of(name, alone=True) in {TEST, VALID}
    ]
    classes = len(folder.folders) - len(beside)
    return beside if folder.flat() or classes > 1 else []


def _repeated(
    folder: _Folder, child: _Folder
) -> tuple[_Folder | None, list[SourceFile]]:
    """*child* unwrapped if it repeats its neighbours: flowers/rose, flowers/flowers/rose."""
    inner, skipped = _unwrap(child)
    names = {normal_name(name) for name in inner.folders}
    if not names or (len(names) == 1 and child.name != folder.name):
        return None, []
    again = names <= folder.normal_names and normal_name(child.name) not in names
    return (inner, skipped) if again else (None, [])


def _no_train(own: Sequence[_Folder], inner: Sequence[_Folder]) -> DatasetError:
    if inner:
        message = (
            f"{quoted_names(child.path for child in inner)} each hold parts of their "
            "own, such as train: give one of them as the source"
        )
    else:
        message = (
            f"there is no training part beside {quoted_names(x.path for x in own)}: call "
            "the folder of the training photos train, or give one folder as the source"
        )
    return DatasetError(message)


def _by_path(photos: Iterable[SourcePhoto]) -> tuple[SourcePhoto, ...]:
    return tuple(sorted(photos, key=lambda photo: photo.file.path))
