"""A manifest: a CSV that lists a job's images, with their order and, if given, their ids.

Other columns are of no interest, so that lists made for training can be used as they are.
A file is found under the folder's own spelling: the list may have another Unicode form,
backslashes, no extension, other case, or lack leading zeros, where one file alone fits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias

from models.errors import InvalidRequestError, quoted
from models.text import (
    PHOTO_COLUMNS,
    column_key,
    is_writable,
    loose_name,
    nearest_name,
    normal_name,
)
from worker.contained import split_inside
from worker.items import Item, Names, file_name, file_stem, id_key
from worker.naming import Named
from worker.sheets.reading import Sheet
from worker.sources.source import find_folder

FILE_COLUMNS: Final = ("file", "filename", "image", "img", "path")
ID_COLUMN: Final = "id"

NamesIn: TypeAlias = Callable[[str], Names]
"""What is in a folder of the input: ``""`` is the input itself, others are paths like
``cats/young``. Nothing where there is no such folder."""

_MAX_ID: Final = 255


@dataclass(frozen=True)
class _Columns:
    file: int
    id: int | None


def listed_names(manifest: Sheet) -> frozenset[str]:
    """The names of the files that *manifest* lists, as it writes them, without folders.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    return frozenset(file_name(path) for _, path, _ in _rows(manifest))


def list_manifest(
    manifest: Sheet, names_in: NamesIn, make_id: Callable[[str], str]
) -> tuple[Item, ...]:
    """The images that *manifest* lists, in its order.

    *make_id* gives the id of a file where the manifest has no column for it.

    Raises:
        InvalidRequestError: it cannot be read, lists a file that is not there, or a
            file or an id twice; the message names the line or the first files.
    """
    input_, missing = _Input(names_in), _Missing()
    files: dict[str, int] = {}
    ids: dict[str | int, int] = {}
    items = []
    for line, path, id_ in _rows(manifest):
        file = input_.find(path)
        if file is None:
            missing.add(line, path, input_)
            continue
        id_ = normal_name(make_id(file)) if id_ is None else id_
        _check_id(manifest, line, id_)
        _check_first(
            manifest, line, f"file {quoted(file)}", files.setdefault(file, line)
        )
        _check_first(
            manifest, line, f"id {quoted(id_)}", ids.setdefault(id_key(id_), line)
        )
        items.append(Item(id_, file))
    if missing.names.count:
        raise manifest.refusal(str(missing))
    return tuple(items)


def _rows(manifest: Sheet) -> Iterator[tuple[int, str, str | None]]:
    columns = _find_columns(manifest)
    for line, cells in manifest.rows():
        id_ = None if columns.id is None else normal_name(cells[columns.id])
        yield line, _read_file(manifest, line, cells[columns.file]), id_


def _find_columns(manifest: Sheet) -> _Columns:
    names = [column_key(name) for name in manifest.header()]
    files = [number for number, name in enumerate(names) if name in FILE_COLUMNS]
    # Lists made for training call it otherwise: the surest of these names.
    files = files or [names.index(each) for each in PHOTO_COLUMNS if each in names][:1]
    ids = [
        number
        for number, name in enumerate(names)
        if name == ID_COLUMN and number not in files
    ]
    if len(files) != 1 or len(ids) > 1:
        reason = (
            f"its header ({Named.of(names)}) needs one column of files "
            f"({', '.join(FILE_COLUMNS)}), and may have one {ID_COLUMN!r}"
        )
        raise manifest.refusal(reason)
    return _Columns(files[0], ids[0] if ids else None)


def _read_file(manifest: Sheet, line: int, cell: str) -> str:
    try:
        return "/".join(split_inside(normal_name(cell).replace("\\", "/")))
    except InvalidRequestError as error:
        raise manifest.refusal(str(error), line) from error


def _check_id(manifest: Sheet, line: int, id_: str) -> None:
    if not id_ or len(id_) > _MAX_ID or not is_writable(id_):
        reason = (
            f"id {id_[:80]!a} is empty, longer than {_MAX_ID} characters, or holds a "
            "control character: mend it"
        )
        raise manifest.refusal(reason, line)


def _check_first(manifest: Sheet, line: int, what: str, first: int) -> None:
    if first != line:
        reason = f"{what} is in line {first} already: remove one, or give other ids"
        raise manifest.refusal(reason, line)


class _Input:
    """The files of a job's input, found by the paths that lists give them."""

    def __init__(self, names_in: NamesIn) -> None:
        self._names_in = names_in
        # A folder at a time: asking for each file alone would be slow on object storage.
        self._folders: dict[str, tuple[str, _Files]] = {}

    def find(self, path: str) -> str | None:
        """The path of that file in the input's own spelling; None: it is not there."""
        folder, _, name = path.rpartition("/")
        own, files = self._look_into(folder)
        found = files.find(name)
        return f"{own}/{found}" if own and found else found

    def nearest(self, path: str) -> str | None:
        """The file that is called most like it, in its folder or in the input itself."""
        folder, _, name = path.rpartition("/")
        own, files = self._look_into(folder)
        if not files.names:
            own, files = self._look_into("")
        found = nearest_name(name, files.names)
        return f"{own}/{found}" if own and found else found

    def _look_into(self, folder: str) -> tuple[str, _Files]:
        if folder not in self._folders:
            own, files = folder, self._names_in(folder).files
            if folder and not files:
                own = find_folder(folder, self._names_in) or folder
                files = files if own == folder else self._names_in(own).files
            self._folders[folder] = own, _Files(files)
        return self._folders[folder]


class _Files:
    """The files of one folder, by their names and by what people make of these."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    def find(self, name: str) -> str | None:
        if name in self.names:
            return name
        loose = loose_name(name)
        wanted = (name, name, loose, loose)
        for known, key in zip(self._by_key, wanted, strict=True):
            if len(found := known.get(key, [])) == 1:
                return found[0]
        return None

    @cached_property
    def _by_key(self) -> tuple[dict[str, list[str]], ...]:
        ways: tuple[Callable[[str], str], ...] = (
            normal_name,
            lambda name: normal_name(file_stem(name)),
            loose_name,
            lambda name: loose_name(file_stem(name)),
        )
        made = tuple(defaultdict[str, list[str]](list) for _ in ways)
        for groups, make_key in zip(made, ways, strict=True):
            for name in self.names:
                groups[make_key(name)].append(name)
        return made


@dataclass
class _Missing:
    """Files of a list that are not there: how many, and what the first may stand for."""

    names: Named = field(default_factory=Named)
    hint: str = ""

    def add(self, line: int, path: str, input_: _Input) -> None:
        if not self.names.count and (nearest := input_.nearest(path)):
            self.hint = (
                f"; line {line}: the nearest to {quoted(path)} is {quoted(nearest)}"
            )
        self.names.add(path)

    def __str__(self) -> str:
        return (
            f"{self.names.count:,} of its files are not among the images of the input "
            f"({self.names}){self.hint}: write them relative to it, or remove their rows"
        )
