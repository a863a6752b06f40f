"""A manifest: a CSV that lists a job's images, with their order and, if given, their ids.

Other columns are of no interest, so that lists made for training can be used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final, TypeAlias

from models.errors import InvalidRequestError, quoted
from models.names import is_writable
from worker.contained import split_inside
from worker.items import Item, id_key
from worker.naming import Named
from worker.sheets.reading import Sheet

FILE_COLUMNS: Final = ("file", "filename", "image", "img", "path")
ID_COLUMN: Final = "id"

ImagesIn: TypeAlias = Callable[[str], Container[str]]
"""Names of the images in a folder of the input: ``""`` is the input itself, others are
paths like ``cats/young``. Empty where there is no such folder."""

_MAX_ID: Final = 255


@dataclass(frozen=True)
class _Columns:
    file: int
    id: int | None


def list_manifest(
    manifest: Sheet, images_in: ImagesIn, make_id: Callable[[str], str]
) -> tuple[Item, ...]:
    """The images that *manifest* lists, in its order.

    *make_id* gives the id of a file where the manifest has no column for it.

    Raises:
        InvalidRequestError: it cannot be read, lists a file that is not there, or a
            file or an id twice; the message names the line or the first files.
    """
    columns = _find_columns(manifest)
    files: dict[str, int] = {}
    ids: dict[str | int, int] = {}
    items = []
    for line, cells in manifest.rows():
        file = _read_file(manifest, line, cells[columns.file])
        id_ = make_id(file) if columns.id is None else cells[columns.id].strip(" ")
        _check_id(manifest, line, id_)
        _check_first(
            manifest, line, f"file {quoted(file)}", files.setdefault(file, line)
        )
        _check_first(
            manifest, line, f"id {quoted(id_)}", ids.setdefault(id_key(id_), line)
        )
        items.append(Item(id_, file))
    _check_present(manifest, files, images_in)
    return tuple(items)


def _find_columns(manifest: Sheet) -> _Columns:
    names = [name.strip().lower() for name in manifest.header()]
    files = [number for number, name in enumerate(names) if name in FILE_COLUMNS]
    ids = [number for number, name in enumerate(names) if name == ID_COLUMN]
    if len(files) != 1 or len(ids) > 1:
        reason = (
            f"its header ({Named.of(names)}) needs one column of files "
            f"({', '.join(FILE_COLUMNS)}), and may have one {ID_COLUMN!r}, separated by "
            "commas"
        )
        raise manifest.refusal(reason)
    return _Columns(files[0], ids[0] if ids else None)


def _read_file(manifest: Sheet, line: int, cell: str) -> str:
    try:
        return "/".join(split_inside(cell.strip(" ")))
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


def _check_present(manifest: Sheet, files: dict[str, int], images_in: ImagesIn) -> None:
    # A folder at a time: asking for each file alone would be slow on object storage.
    known: dict[str, Container[str]] = {}
    missing = Named()
    for file in files:
        folder, _, name = file.rpartition("/")
        if folder not in known:
            known[folder] = images_in(folder)
        if name not in known[folder]:
            missing.add(file)
    if missing.count:
        reason = (
            f"{missing.count:,} of its files are not among the images of the input "
            f"({missing}): write them relative to it, or remove their rows"
        )
        raise manifest.refusal(reason)
