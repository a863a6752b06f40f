"""Photo finder: the photo that a name in a CSV means.

Exact names count first. What spreadsheets do to names (lost zeros, other case,
backslashes, another machine's folders) is undone where only one photo fits.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cached_property

from export.data.sources.files import SourceFile
from models.images.formats import PHOTO_SUFFIXES
from models.text import loose_name, nearest_name, normal_name


@dataclass(frozen=True)
class PhotoMatch:
    """A photo that was found; *is_loose*: its name differs by more than case."""

    file: SourceFile
    is_loose: bool


class PhotoFinder:
    """Finds the photo that a CSV cell names, with or without its file ending."""

    def __init__(self, photos: Sequence[SourceFile]) -> None:
        """Index *photos* by name."""
        self._photos = photos
        self._exact: dict[str, list[SourceFile]] = defaultdict(list)
        for photo in photos:
            name = normal_name(photo.name)
            for each in {name, _stem(name)}:
                self._exact[each].append(photo)

    def find(self, cell: str, label: str) -> SourceFile | None:
        """The one photo of that name; of several, the one in the folder *label*."""
        *folders, name = path_parts(cell) or [""]
        found = self._exact.get(name, ())
        if folders:
            found = [photo for photo in found if _common(photo, folders)]
        return self._only(found, folders, label)

    def find_loosely(
        self, cell: str, label: str, taken: Container[str] = ()
    ) -> PhotoMatch | None:
        """The one photo whose name differs in case, ending, zeros or outer folders only.

        Photos whose paths are in *taken* do not count.
        """
        *folders, name = path_parts(cell) or [""]
        stem = _stem(name)
        for wanted in (name, stem):
            found = [
                photo
                for photo in self._loose.get(loose_name(wanted), ())
                if photo.path not in taken
            ]
            file = self._only(found, folders, label)
            if file is not None:
                own = normal_name(file.name).casefold()
                same = {own, _stem(own)}
                return PhotoMatch(file, is_loose=name.casefold() not in same)
        return None

    def nearest(self, cell: str) -> str | None:
        """The path of the photo whose name is most similar to *cell*."""
        stem = _stem((path_parts(cell) or [""])[-1])
        paths = {
            _stem(path_parts(photo.path)[-1]): photo.path for photo in self._photos
        }
        near = nearest_name(stem, paths)
        return paths[near] if near else None

    def copies(self, cell: str) -> list[str]:
        """The paths of all photos that *cell* names, if there are several."""
        found = self._exact.get((path_parts(cell) or [""])[-1], ())
        return [photo.path for photo in found] if len(found) > 1 else []

    def example(self) -> str:
        """A sentence that shows how the photos are named."""
        first = next((photo.path for photo in self._photos), None)
        return f"the first photo is {first}" if first else "there are no photos"

    @cached_property
    def _loose(self) -> dict[str, list[SourceFile]]:
        found = defaultdict[str, list[SourceFile]](list)
        for name, photos in self._exact.items():
            found[loose_name(name)] += photos
        return {name: list(dict.fromkeys(photos)) for name, photos in found.items()}

    @cached_property
    def _folders(self) -> set[str]:
        folders = {photo.folder for photo in self._photos}
        return {loose_name(name) for each in folders for name in path_parts(each)}

    def _only(
        self, found: Sequence[SourceFile], folders: Sequence[str], label: str
    ) -> SourceFile | None:
        if folders and found:
            common = {photo.path: _common(photo, folders) for photo in found}
            most = max(common.values())
            # Only a folder that the source lacks can be another machine's.
            if most == 0 and loose_name(folders[-1]) in self._folders:
                return None
            found = [photo for photo in found if common[photo.path] == most]
        tests: tuple[Callable[[SourceFile], bool], ...] = (
            lambda photo: path_parts(photo.path)[-2:-1] == [label],
            lambda photo: not photo.is_test(),
        )
        for test in tests:
            if len(found) > 1:
                found = [photo for photo in found if test(photo)] or found
        return found[0] if len(found) == 1 else None


def path_parts(path: str) -> list[str]:
    """The names in *path* in normal form; separators may be those of another system."""
    names = (normal_name(each) for each in path.replace("\\", "/").split("/"))
    return [each for each in names if each not in {"", "."}]


def _stem(name: str) -> str:
    """*name* without the ending of a photo file."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    return stem if ending.lower() in PHOTO_SUFFIXES else name


def _common(photo: SourceFile, folders: Sequence[str]) -> int:
    """Number of equal folders, counted from the innermost, of *photo* and *folders*."""
    own = map(loose_name, reversed(path_parts(photo.path)[:-1]))
    given = map(loose_name, reversed(folders))
    count = 0
    for mine, other in zip(own, given, strict=False):
        if mine != other:
            break
        count += 1
    return count
