"""What is backed up, in units that are there as a whole or not at all.

A version is published by one rename and pruned by another; so is a run made and deleted.
Within a run, what is written last is copied first: the copy is then a state in which the
run might have been cut off by a crash, and from those the workers go on by themselves.
Photos are a unit of their own, because they may be deleted before their run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError
from models.files import TEMPORARY_PREFIX
from worker.reconciler import LOCK_NAME

ROOTS: Final = ("models", "runs")
"""What a backup has, in the order in which it is copied and restored."""

_SHELVES: Final = frozenset({"runs/train"})
_PHOTOS: Final = "photos"
_JOB_PHOTO: Final = re.compile(rf"runs/(?!train/)[^/]+/{_PHOTOS}/")
_LOCKS: Final = frozenset({".lock", LOCK_NAME})
_ENDS: Final = (
    *("report.json", "failed.json", "cancelled"),
    *("submission.csv", "scores.json"),
)


@dataclass(frozen=True)
class Unit:
    """A folder that appears and vanishes at once.

    Attributes:
        path: below the backup, as in ``models/pets/3``.
        is_shelf: it holds other units; only the files beside them count.
    """

    path: str
    folder: Path
    is_shelf: bool = False

    def contents(self) -> Iterator[tuple[str, Path]]:
        """Where each folder (with a slash) and file goes, and where it lies.

        Links and the like come as they are; what vanished meanwhile does not.
        """
        yield f"{self.path}/", self.folder
        yield from _contents(self.path, self.folder, top=self)


def find_units(roots: Mapping[str, Path]) -> Iterator[Unit]:
    """The units below *roots*, the folders of `ROOTS`."""
    for name in ROOTS:
        yield from _shelf(name, roots[name])


def is_photo(path: str) -> bool:
    """Whether *path* is a photo of a job: those come and go by the thousand."""
    return _JOB_PHOTO.match(path) is not None


def nothing_there(roots: Mapping[str, Path]) -> InvalidRequestError:
    """The error that says that there is no file in *roots*."""
    where = ", ".join(str(root) for root in roots.values())
    return InvalidRequestError(
        f"nothing to back up: no file in {where}: see that KENNEL_HOME (or MODELS_DIR "
        "and RUNS_DIR) names the installation, and that its disks are mounted"
    )


def _shelf(path: str, folder: Path) -> Iterator[Unit]:
    yield Unit(path, folder, is_shelf=True)
    for child in _entries(folder):
        if not child.is_dir(follow_symlinks=False):
            continue
        its_path, its_folder = f"{path}/{child.name}", Path(child.path)
        if path == "models" or its_path in _SHELVES:
            yield from _shelf(its_path, its_folder)
            continue
        yield Unit(its_path, its_folder)
        photos = its_folder / _PHOTOS
        if photos.is_dir():
            yield Unit(f"{its_path}/{_PHOTOS}", photos)


def _contents(path: str, folder: Path, top: Unit | None) -> Iterator[tuple[str, Path]]:
    for child in sorted(_entries(folder), key=_order):
        its_path, its_folder = f"{path}/{child.name}", Path(child.path)
        if not child.is_dir(follow_symlinks=False):
            yield its_path, its_folder
        elif top is None or not (top.is_shelf or child.name == _PHOTOS):
            yield f"{its_path}/", its_folder
            yield from _contents(its_path, its_folder, top=None)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (each for each in entries if not _is_passing(each.name)),
                key=lambda each: each.name,
            )
    except FileNotFoundError:
        return []


def _is_passing(name: str) -> bool:
    return name in _LOCKS or name.startswith(TEMPORARY_PREFIX)


def _order(entry: os.DirEntry[str]) -> tuple[int, str]:
    if entry.name in _ENDS:
        return _ENDS.index(entry.name), ""
    return len(_ENDS), entry.name
