"""Files and photos of a source, and the findings that are reported about them.

A folder is walked here; what lies in archives and IDX files is added by `archives` and
`reading`. A file keeps its origin, so nothing is copied or unpacked to look at it.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from models.errors import DatasetError, NotFoundError, StorageUnavailableError
from models.images.files import FILE_FAULTS, explain_read_error
from models.images.formats import START_BYTES, is_photo, is_system_file
from models.text import printable

PHOTO: Final = "photo"
ARCHIVE: Final = "archive"
OTHER: Final = "other"

ARCHIVE_SUFFIXES: Final = (
    *(".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
)
PIECE: Final = re.compile(
    r"\.([zr]\d\d|part(\d+|[a-z]{2})|(zip|7z|tar(\.\w+)?)\.\d+)$", re.IGNORECASE
)
"""The ending of a piece of a split archive."""
HIDDEN_FOLDER: Final = "hidden folder"
_LISTED: Final = "link to a folder that is listed already"
_ZIP_START: Final = b"PK\x03\x04"

TRAIN: Final = "train"
VALID: Final = "valid"
TEST: Final = "test"

_WORDS: Final = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_OF_WHAT: Final = "(set|data|images?|imgs?|photos?|pics?|dir|folder)"
_PARTS: Final = {
    TRAIN: re.compile(f"train(ing|val)?{_OF_WHAT}?"),
    VALID: re.compile(f"(val(id(ation|ate)?)?|dev|eval(uation)?|holdout){_OF_WHAT}?"),
    TEST: re.compile(f"(test(ing)?|pred(ict(ion)?s?)?|unlabell?ed){_OF_WHAT}?"),
}


@lru_cache(maxsize=10_000)  # asked for each photo's folders
def part_of(name: str, *, alone: bool = False) -> str | None:
    """The part of a data set that a folder's *name* says: train, valid, test or None.

    In any case, with anything before or after: ``seg_train``, ``training_set``,
    ``Validation``, ``test1``, ``TestImages``. With *alone*, it says nothing else:
    ``test1``, but not ``blood_test``.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    parts = [_part_of_word(word) for word in words]
    found = set(filter(None, parts))
    if found == {TRAIN, VALID}:
        found = {TRAIN}  # "trainval": to be split by whoever trains
    others = [
        word
        for word, part in zip(words, parts, strict=True)
        if part is None and not re.fullmatch(_OF_WHAT, word)
    ]
    return None if len(found) != 1 or (alone and others) else found.pop()


def _part_of_word(word: str) -> str | None:
    return next((part for part, each in _PARTS.items() if each.fullmatch(word)), None)


@dataclass(frozen=True)
class Origin:
    """What to read: a file, or a member of an archive (``members`` from outside in)."""

    location: Path
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceFile:
    """One file below the source.

    Attributes:
        size: in bytes, as the file system or the archive says.
        kind: photo, archive or other.
        linked: it was reached through a symbolic link; ``origin`` is what that leads to.
    """

    path: str
    size: int
    origin: Origin
    kind: str = PHOTO
    linked: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The path without its last part; "" at the top."""
        return self.path.rpartition("/")[0]

    def is_test(self) -> bool:
        """Whether it lies in a folder of test photos."""
        return any(part_of(name) == TEST for name in self.folder.split("/"))


@dataclass(frozen=True)
class Listing:
    """What a source holds; ``folders`` include empty ones.

    ``findings`` say what is not among the files, and why: links to nothing, members of
    archives that lead outside.
    """

    files: tuple[SourceFile, ...]
    folders: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @cached_property
    def photos(self) -> tuple[SourceFile, ...]:
        """The files that are photos, by path."""
        return tuple(file for file in self.files if file.kind == PHOTO)


def walk_folder(source: Path) -> Listing:
    """The files and folders below *source*, by path; archives are not opened.

    Links are followed, but a folder is listed once: a link to one that is listed already,
    or to one around the source, is left out and told.

    Raises:
        NotFoundError: there is no such folder.
        DatasetError: it is a file, or a folder may not be read.
        StorageUnavailableError: its disk or mount cannot be read now.
    """
    if source.is_file():
        message = (
            f"{source} is a file, not a folder: make a folder of it with kennel prepare "
            "if it is an archive"
        )
        raise DatasetError(message)
    if not source.is_dir():
        message = f"there is no folder or archive {source}: check the path"
        raise NotFoundError(message)
    return _Walk(source).listing()


def kind_of(name: str, read_start: Callable[[], bytes]) -> str:
    """Whether a file of that *name* is a photo, an archive or another file.

    *read_start* gives its first bytes; it is called only if the name does not say it.
    """
    start = cache(read_start)
    if is_photo(name, start):
        return PHOTO
    if name.lower().endswith(ARCHIVE_SUFFIXES):
        return ARCHIVE
    unnamed = "." not in name and start().startswith(_ZIP_START)
    return ARCHIVE if unnamed else OTHER


def sort_files(files: Iterable[SourceFile]) -> list[SourceFile]:
    """*files* by path, whatever order the file system gave them in."""
    return sorted(files, key=lambda file: file.path)


def join_path(folder: str, name: str) -> str:
    """The path of *name* in *folder*; "" is the top."""
    return f"{folder}/{name}" if folder and name else folder or name


class _Walk:
    """One look through a folder; real folders first, so that links never hide them."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._files: list[SourceFile] = []
        self._folders: list[str] = []
        self._seen: set[tuple[int, int]] = set()
        self._links: deque[tuple[Path, str]] = deque()
        self._odd: dict[str, list[str]] = defaultdict(list)

    def listing(self) -> Listing:
        self._walk(self._source, "", linked=False)
        real = _real(self._source)
        while self._links:
            target, path = self._links.popleft()
            if _identity(target) in self._seen:
                self._odd[_LISTED].append(path)
            elif real.is_relative_to(target):
                self._odd["link to a folder around the source"].append(path)
            else:
                self._folders.append(path)
                self._walk(target, path, linked=True)
        findings = [
            finding
            for kind, paths in self._odd.items()
            for finding in as_findings(kind, sorted(paths), "it was left out")
        ]
        return Listing(
            tuple(sort_files(self._files)),
            tuple(sorted(self._folders)),
            tuple(findings),
        )

    def _walk(self, top: Path, path: str, *, linked: bool) -> None:
        for root, names, entries in os.walk(top, onerror=_fail):
            folder = Path(root)
            self._seen.add(_identity(folder))
            relative = folder.relative_to(top).as_posix()
            below = join_path(path, "" if relative == "." else relative)
            names[:] = [
                name
                for name in sorted(names)
                if self._enters(folder / name, join_path(below, name), linked)
            ]
            for name in entries:
                if not is_system_file(name):
                    self._add(folder / name, join_path(below, name), linked)

    def _enters(self, full: Path, path: str, linked: bool) -> bool:
        if is_system_file(full.name):
            if full.name.startswith("."):
                self._odd[HIDDEN_FOLDER].append(path)
            return False
        if full.is_symlink():
            self._links.append((_real(full), path))
            return False
        if linked and _identity(full) in self._seen:
            self._odd[_LISTED].append(path)
            return False
        self._folders.append(path)
        return True

    def _add(self, full: Path, path: str, linked: bool) -> None:
        try:
            status = full.stat()
        except OSError as error:
            if error.errno not in FILE_FAULTS:
                message = explain_read_error(full, error)
                raise StorageUnavailableError(message) from error
            self._odd["link to nothing"].append(path)
            return
        if not stat.S_ISREG(status.st_mode):
            self._odd["special file"].append(path)
            return
        is_link = full.is_symlink()
        location = _real(full) if is_link else full
        # A link's own name counts: what it leads to may be named by a hash (DVC, git-annex).
        kind = kind_of(full.name, lambda: _read_start(location))
        self._files.append(
            SourceFile(path, status.st_size, Origin(location), kind, linked or is_link)
        )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _read_start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(START_BYTES)
    except OSError as error:
        if error.errno in FILE_FAULTS:
            return b""
        message = explain_read_error(path, error)
        raise StorageUnavailableError(message) from error


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _fail(error: OSError) -> None:
    if error.errno in FILE_FAULTS:
        message = (
            f"the folder {error.filename} cannot be read ({error.strerror}): see to its "
            "permissions"
        )
        raise DatasetError(message) from error
    raise StorageUnavailableError(explain_read_error(error.filename, error)) from error


GIVEN_GROUPING: Final = "folders train and valid"
"""What is said of a split that the source itself has."""


@dataclass(frozen=True)
class SourcePhoto:
    """A photo of a source; ``group`` is what must not be on both sides of a split."""

    file: SourceFile
    label: str = ""
    group: str = ""


@dataclass(frozen=True)
class CollectedPhotos:
    """All photos of a source, and what was odd about where they lay.

    Attributes:
        layout: flat, classes, csv or idx.
        labelled: photos to train on; to be split unless there are ``valid`` ones.
        valid: photos that the source itself sets apart for validation.
        test: photos to predict; those with a label can be scored.
        labelled_by: which CSV, and which of its columns, gave the labels.
        parts: folders of the source and the part that each is: train, valid or test.
        left: photos that were not taken, by path, and why.
        files: how many files the source holds.
        left_out: how many of them, photos or not, were not taken.
    """

    layout: str
    labelled: tuple[SourcePhoto, ...]
    test: tuple[SourcePhoto, ...] = ()
    findings: tuple[Finding, ...] = ()
    labelled_by: str = ""
    valid: tuple[SourcePhoto, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    files: int = 0
    left_out: int = 0

    @property
    def photos(self) -> tuple[SourcePhoto, ...]:
        """All photos that were taken."""
        return (*self.labelled, *self.valid, *self.test)

    def summary(self, taken: int) -> dict[str, Any]:
        """What was found, as JSON, if *taken* of the photos can be read."""
        return {
            "layout": self.layout,
            "files": self.files,
            "taken": taken,
            "left_out": self.left_out + len(self.photos) - taken,
            "parts": dict(sorted(self.parts.items())),
        }


MAX_KEPT: Final = 1000
MAX_NAMED: Final = 10


@dataclass(frozen=True)
class Finding:
    """One kind of trouble: how often, where (the worst first), and the remedy."""

    kind: str
    count: int
    remedy: str
    examples: tuple[str, ...]


def as_findings(kind: str, examples: Sequence[str], remedy: str) -> tuple[Finding, ...]:
    """A finding of that kind, or nothing if there is no example."""
    if not examples:
        return ()
    shown = tuple(map(printable, examples[:MAX_KEPT]))
    return (Finding(kind, len(examples), remedy, shown),)


FILE_THREADS: Final = 4
_BUNCH: Final = 32

_T = TypeVar("_T")
_R = TypeVar("_R")


def map_files(function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """*function* of each of *items*, in their order, as they are done.

    Stops, and starts nothing more, when *function* raises; what is under way ends first.
    """

    def work(start: int) -> list[_R]:
        return [function(item) for item in items[start : start + _BUNCH]]

    with ThreadPoolExecutor(FILE_THREADS) as pool:
        for results in pool.map(work, range(0, len(items), _BUNCH)):
            yield from results
