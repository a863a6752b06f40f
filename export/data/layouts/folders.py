"""Labels from folders (``cat/0.jpg``) or from file names (``cat.0.jpg``).

The folder tree is walked once. Every photo goes into a part (train, valid, test) and a
class, or is left out with a reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from export.data.layouts.folder_tree import (
    FLAT_NAME,
    Folder,
    are_classes_of_parts,
    are_only_parts,
    are_pieces,
    find_repeated,
    has_parts,
    held_again,
    holds_only_folders,
    is_mask,
    mask_folders,
    parts_beside_classes,
    read_tree,
    stem,
    unnamed_train,
    unwrap,
)
from export.data.sources.files import (
    TEST,
    TRAIN,
    VALID,
    CollectedPhotos,
    Listing,
    SourceFile,
    SourcePhoto,
    as_findings,
    part_of,
)
from models.errors import DatasetError, quoted, quoted_names
from models.text import normal_name

_BESIDE_CLASSES: Final = "photo beside the class folders"
_BESIDE_PARTS: Final = "photo beside the folders of the parts"
_NO_LABEL: Final = "photo without a label"
NOT_IN_TRAIN: Final = "test photo of a class that is not in train"
IN_PIECES: Final = "photo in folders that differ in a number only"
_NOT_FLAT: Final = "photo that is not named as the others are"
_MASK: Final = "mask or annotation of a photo"

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
    tree = read_tree(listing)
    collector.leave_masks(tree)
    collector.place(tree)
    return collector.collection()


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

    def leave_masks(self, folder: Folder) -> None:
        """Take masks and annotations that lie beside their photos out of *folder*."""
        stems = {stem(photo.name) for photo in folder.photos}
        photos: list[SourceFile] = []
        masks: list[SourceFile] = []
        for photo in folder.photos:
            (masks if is_mask(photo, stems) else photos).append(photo)
        folder.photos = photos
        for child in mask_folders(folder):
            del folder.folders[child.name]
            masks += child.below()
        self._leave(_MASK, masks)
        for child in folder.folders.values():
            self.leave_masks(child)

    def place(self, folder: Folder) -> None:
        """Sort the photos of *folder*, whose part is not known yet, into parts."""
        folder, skipped = unwrap(folder)
        self._leave(_BESIDE_CLASSES, skipped)
        if are_classes_of_parts(folder):
            self._place_classes_of_parts(folder)
        elif has_parts(folder):
            self._place_parts(folder)
        elif (train := unnamed_train(folder)) is not None:
            for child in folder.folders.values():
                self._take(
                    child, TRAIN if child is train else part_of(child.name) or TEST
                )
            self._leave(_BESIDE_PARTS, folder.photos)
        else:
            for child in parts_beside_classes(folder):
                del folder.folders[child.name]
                self._take(child, part_of(child.name) or TEST)
            self._take(folder, TRAIN)

    def _place_classes_of_parts(self, folder: Folder) -> None:
        for label, child in folder.folders.items():
            for name, photos in child.folders.items():
                part = part_of(name) or TRAIN
                self._parts[photos.path] = part
                self._label(part, label, photos)
        self._leave(_BESIDE_CLASSES, folder.photos)

    def _place_parts(self, folder: Folder) -> None:
        children = list(folder.folders.values())
        own = [child for child in children if part_of(child.name)]
        others = [child for child in children if child not in own]
        for child in own:
            self._take(child, part_of(child.name) or TRAIN)
        if all(part_of(child.name) != TRAIN for child in own):
            inner = [child for child in others if has_parts(child)]
            if len(inner) != 1:
                raise _no_train(own, inner)
            others.remove(inner[0])
            self.place(inner[0])
        self._leave(_BESIDE_PARTS, folder.photos)
        for child in others:
            self._leave(_BESIDE_PARTS, child.below())

    def _take(self, folder: Folder, part: str) -> None:
        folder, skipped = unwrap(folder)
        if part == TEST:
            self._unlabelled[TEST] += skipped
        else:
            self._leave(_BESIDE_CLASSES, skipped)
        if part == TRAIN and are_only_parts(folder):
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

    def _take_flat(self, folder: Folder, part: str) -> None:
        for photo in folder.photos:
            match = FLAT_NAME.match(photo.name)
            numbered = part == TRAIN and photo.name.partition(".")[0].isdigit()
            if match:
                self._labelled[part].append(SourcePhoto(photo, match[1]))
            elif part == TEST or numbered:
                self._unlabelled[TEST].append(photo)
            else:
                self._leave(_NOT_FLAT, [photo])

    def _take_classes(self, folder: Folder, part: str) -> None:
        classes = []
        if part == TRAIN and self._requested is None and are_pieces(folder):
            self._leave(IN_PIECES, folder.below())
            return
        for child in folder.folders.values():
            copy, skipped = find_repeated(folder, child)
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

    def _report_folders(self, folder: Folder) -> None:
        repeated = self._examples[_REPEATED]
        self._examples[_OF_FOLDERS] += [
            child.path
            for child in folder.folders.values()
            if child.path not in repeated
            and (holds_only_folders(child) or held_again(folder, child))
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

    def _label(self, part: str, label: str, folder: Folder) -> None:
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


def _check_variants(folder: Folder) -> None:
    """Refuse folders that all hold the same folders, or the same as beside them.

    Either could be the classes.

    Raises:
        DatasetError: there are such folders; the message names them.
    """
    children = list(folder.folders.values())
    held = [set(unwrap(child)[0].folders) for child in children]
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
        again = held_again(folder, child)
        if len(again) > 1 and find_repeated(folder, child)[0] is None:
            message = (
                f"{quoted(child.path)} holds folders with the names of those beside it "
                f"({quoted_names(again)}) and others: remove it if it is a copy, or use "
                "kennel prepare --layout classes if it is a class"
            )
            raise DatasetError(message)


def _no_train(own: Sequence[Folder], inner: Sequence[Folder]) -> DatasetError:
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
