"""Files and photos of a source, and the findings that are reported about them.

A folder is walked here; `archives` and `reading` add the contents of archives and IDX
files. Every file keeps its origin, so nothing is copied or unpacked to look at it.
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
TRAIN: Final = "train"
VALID: Final = "valid"
TEST: Final = "test"
ARCHIVE_SUFFIXES: Final = (
    *(".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
)
PIECE: Final = re.compile(
    r"\.([zr]\d\d|part(\d+|[a-z]{2})|(zip|7z|tar(\.\w+)?)\.\d+)$", re.IGNORECASE
)
"""Name endings of the pieces of a split archive."""
HIDDEN_FOLDER: Final = "hidden folder"
_LISTED: Final = "link to a folder that is listed already"
_ZIP_START: Final = b"PK\x03\x04"
_WORDS: Final = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_OF_WHAT: Final = "(set|data|images?|imgs?|photos?|pics?|dir|folder)"
_PARTS: Final = {
    TRAIN: re.compile(f"train(ing|val)?{_OF_WHAT}?"),
    VALID: re.compile(f"(val(id(ation|ate)?)?|dev|eval(uation)?|holdout){_OF_WHAT}?"),
    TEST: re.compile(f"(test(ing)?|pred(ict(ion)?s?)?|unlabell?ed){_OF_WHAT}?"),
}
GIVEN_GROUPING: Final = "folders train and valid"
"""How the manifest describes a split that the source already had."""
MAX_KEPT: Final = 1000
"""Examples of one kind that a finding keeps."""
FILE_THREADS: Final = 4
_BUNCH: Final = 32
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class FileOrigin:
    """Where a file's bytes are: on disk, or in an archive (``members``, outermost first)."""

    location: Path
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceFile:
    """One file below the source.

    Attributes:
        size: in bytes, as the file system or the archive says.
        kind: photo, archive or other.
        linked: reached through a symbolic link; ``origin`` is the link's target.
    """

    path: str
    size: int
    origin: FileOrigin
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
        """Whether a folder above it is named like a test part."""
        return any(part_of(name) == TEST for name in self.folder.split("/"))


@dataclass(frozen=True)
class Listing:
    """All files and folders of a source, empty folders included.

    ``findings`` name what is not among the files, and why: broken links, archive members
    with unsafe paths.
    """

    files: tuple[SourceFile, ...]
    folders: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @cached_property
    def photos(self) -> tuple[SourceFile, ...]:
        """The files that are photos, by path."""
        return tuple(file for file in self.files if file.kind == PHOTO)


@dataclass(frozen=True)
class SourcePhoto:
    """A photo of a source; photos of one ``group`` must stay in one part of the split."""

    file: SourceFile
    label: str = ""
    group: str = ""


@dataclass(frozen=True)
class CollectedPhotos:
    """All photos of a source by part, with what was left out.

    Attributes:
        layout: flat, classes, csv or idx.
        labelled: photos to train on; they are split unless there are ``valid`` ones.
        valid: photos that the source itself keeps for validation.
        test: photos to predict; those with a label can be scored.
        labelled_by: the CSV file and columns that gave the labels.
        parts: folders of the source and the part that each is: train, valid or test.
        left: paths of photos that were left out, and the reasons.
        files: number of files in the source.
        left_out: number of these that were left out, photos or not.
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
        """The manifest's summary of the source, if *taken* of the photos can be read."""
        return {
            "layout": self.layout,
            "files": self.files,
            "taken": taken,
            "left_out": self.left_out + len(self.photos) - taken,
            "parts": dict(sorted(self.parts.items())),
        }


@dataclass(frozen=True)
class Finding:
    """One kind of problem: how often, examples (the worst first), and the remedy."""

    kind: str
    count: int
    remedy: str
    examples: tuple[str, ...]


def as_findings(kind: str, examples: Sequence[str], remedy: str) -> tuple[Finding, ...]:
    """One finding of that *kind*, or none if there are no *examples*."""
    if not examples:
        return ()
    shown = tuple(map(printable, examples[:MAX_KEPT]))
    return (Finding(kind, len(examples), remedy, shown),)


def walk_folder(source: Path) -> Listing:
    """The files and folders below *source*, by path; archives are not opened.

    Links are followed, but each folder is listed once: a link to a folder that is listed
    already, or to one around the source, becomes a finding.

    Raises:
        NotFoundError: there is no such folder.
        DatasetError: *source* is a file, or a folder may not be read.
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

    *read_start* returns its first bytes; called only if the name does not decide.
    """
    start = cache(read_start)
    if is_photo(name, start):
        return PHOTO
    if name.lower().endswith(ARCHIVE_SUFFIXES):
        return ARCHIVE
    unnamed = "." not in name and start().startswith(_ZIP_START)
    return ARCHIVE if unnamed else OTHER


@lru_cache(maxsize=10_000)  # called for the folders of each photo
def part_of(name: str, *, alone: bool = False) -> str | None:
    """The part of a data set that a folder called *name* is: train, valid, test or None.

    Upper and lower case are the same, and other words may surround it: ``seg_train``,
    ``training_set``, ``Validation``, ``test1``, ``TestImages``. With *alone*, only names
    that mean nothing else count: ``test1``, but not ``blood_test``.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    parts = [_part_of_word(word) for word in words]
    found = set(filter(None, parts))
    if found == {TRAIN, VALID}:
        found = {TRAIN}  # "trainval" is split again for training
    others = [
        word
        for word, part in zip(words, parts, strict=True)
        if part is None and not re.fullmatch(_OF_WHAT, word)
    ]
    return None if len(found) != 1 or (alone and others) else found.pop()


def sort_files(files: Iterable[SourceFile]) -> list[SourceFile]:
    """*files* ordered by path, whatever order the file system gave."""
    return sorted(files, key=lambda file: file.path)


def join_path(folder: str, name: str) -> str:
    """The path of *name* in *folder*; "" is the top."""
    return f"{folder}/{name}" if folder and name else folder or name


def map_files(function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """Results of *function* for each of *items*, in order, from a few threads.

    An exception of *function* ends the work: nothing more is started, and calls under way
    finish first. Threads take items in bunches, because handing over each of 60,000 alone
    would take longer than hashing it.
    """

    def work(start: int) -> list[_R]:
        return [function(item) for item in items[start : start + _BUNCH]]

    with ThreadPoolExecutor(FILE_THREADS) as pool:
        for results in pool.map(work, range(0, len(items), _BUNCH)):
            yield from results


class _Walk:
    """One walk through a folder: real folders first, so that links never hide them."""

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
        # The link's own name counts: its target may be named by a hash (DVC, git-annex).
        kind = kind_of(full.name, lambda: _read_start(location))
        self._files.append(
            SourceFile(
                path, status.st_size, FileOrigin(location), kind, linked or is_link
            )
        )


def _part_of_word(word: str) -> str | None:
    return next((part for part, each in _PARTS.items() if each.fullmatch(word)), None)


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
            f"the folder {error.filename} cannot be read ({error.strerror}): check its "
            "permissions"
        )
        raise DatasetError(message) from error
    raise StorageUnavailableError(explain_read_error(error.filename, error)) from error
