"""Text that people and their programs write: names in one normal form, and CSV files.

macOS and some zip programs write an accented letter as two characters (NFD), most other
systems as one (NFC, Unicode Standard Annex 15); both look the same to people. So ids,
labels and file names are compared, stored and written in NFC. A file is still opened by
the name that its folder gave.

Excel and Numbers write CSV with semicolons where the comma is the decimal sign, tabs for
"Unicode text", UTF-16 with a byte order mark, and sometimes a first line ``sep=;``.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import itertools
import re
import unicodedata
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias

from models.errors import quoted

_LEADING_ZEROS: Final = re.compile(r"(?<![0-9])0+(?=[0-9])")
_FLOAT: Final = re.compile(r"[0-9]+\.0")
_MOST_COMPARED: Final = 20_000
_CONTROL: Final = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


def normal_name(name: str) -> str:
    """*name* in NFC, without spaces around it: the form in which names are compared."""
    return unicodedata.normalize("NFC", name).strip()


def loose_name(name: str) -> str:
    """*name* without case, leading zeros of its numbers, and the ``.0`` of a number.

    Windows changes case, Excel drops leading zeros, and pandas writes a column of numbers
    with a gap as floats. Compare the names themselves first.
    """
    return _LEADING_ZEROS.sub("", whole_number(normal_name(name).casefold()))


def whole_number(name: str) -> str:
    """*name*, without the ``.0`` if it is a whole number written as a float."""
    return name.removesuffix(".0") if _FLOAT.fullmatch(name) else name


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """The most similar one of the first 20,000 *names*; None: none is similar."""
    known = {loose_name(each): each for each in itertools.islice(names, _MOST_COMPARED)}
    found = difflib.get_close_matches(loose_name(name), known, n=1)
    return known[found[0]] if found else None


def is_utf8(name: str) -> bool:
    """Whether *name* can be written as UTF-8.

    A file name of other bytes reaches Python with surrogates in it (PEP 383).
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def has_control(name: str) -> bool:
    """Whether *name* holds a character that breaks lines or cannot be seen."""
    return _CONTROL.search(name) is not None


def is_writable(name: str) -> bool:
    """Whether a CSV or a report can hold *name*: UTF-8 without control characters."""
    return is_utf8(name) and not has_control(name)


def printable(name: str) -> str:
    """*name* as UTF-8 text for people: other bytes are shown as escapes."""
    return name.encode(errors="backslashreplace").decode()


HEAD_BYTES: Final = 64 * 1024
"""Bytes from the start of a file that `find_dialect` needs."""

PHOTO_COLUMNS: Final = (
    *("img", "image", "photo", "picture", "pic", "file", "filename", "file_name"),
    *("image_file", "image_filename", "image_name", "img_name", "photo_name"),
    *("filepath", "file_path", "filepaths", "image_path", "img_path", "photo_path"),
    *("path", "images", "photos", "files", "image_id", "img_id", "imageid", "photo_id"),
    *("id_code", "image_index", "file_id", "name", "id"),
)
"""Names of columns of photos, the most certain first, in the form of `column_key`."""

CsvRow: TypeAlias = tuple[int, list[str]]
"""The number of the line in which a row ends, and its cells."""

_DELIMITERS: Final = (",", ";", "\t", "|")
_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HINT: Final = "sep="
_FLAGS: Final = {
    **dict.fromkeys(("0", "0.0", "false"), False),
    **dict.fromkeys(("1", "1.0", "true"), True),
}


@dataclass(frozen=True)
class CsvDialect:
    """How to read a CSV file.

    Attributes:
        encoding: for Python's text streams; a byte order mark is left out.
        delimiter: one character.
        skipped_lines: lines before the header, which only name the delimiter.
    """

    encoding: str
    delimiter: str
    skipped_lines: int = 0


class CsvFaultError(ValueError):
    """A file that cannot be read as CSV; the message gives reason and remedy."""

    def __init__(self, line: int, reason: str) -> None:
        """*line* cannot be read, counted from 1, for the *reason*."""
        super().__init__(reason)
        self.line = line


def read_csv_rows(stream: BinaryIO) -> Generator[CsvRow, None, None]:
    """The rows of the CSV file in *stream* from its start, the header first.

    All are as wide as the header. Empty columns after its last name do not count. A shorter
    row, as Excel writes it where the last cells are empty, is filled up with empty cells.
    Blank rows are left out. The stream is read in chunks, and stays open.

    Raises:
        CsvFaultError: a row is no CSV, no UTF-8 or UTF-16, or wider than the header.
        OSError: the file cannot be read.
    """
    stream.seek(0)
    dialect = find_dialect(stream.read(HEAD_BYTES))
    stream.seek(0)
    # Bytes that are not UTF-8 become surrogates, so that the error can name their row.
    text = io.TextIOWrapper(stream, dialect.encoding, "surrogateescape", newline="")
    for _ in range(dialect.skipped_lines):
        text.readline()
    reader = csv.reader(text, delimiter=dialect.delimiter, strict=True)
    width = 0
    try:
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            width = width or _used(cells)
            line = reader.line_num + dialect.skipped_lines
            yield line, _checked(line, cells, width)
    except (csv.Error, UnicodeDecodeError) as error:
        line = reader.line_num + dialect.skipped_lines
        reason = f"it is no CSV ({error}): save the file as CSV in UTF-8, with commas"
        raise CsvFaultError(line, reason) from error
    finally:
        # Otherwise the stream would be closed with the text reader.
        text.detach()


def parse_flag(cell: str) -> bool | None:
    """The value of a *cell* of zero or one, FALSE or TRUE; None: it is neither.

    pandas writes dummy columns as FALSE and TRUE.
    """
    return _FLAGS.get(cell.strip().replace(",", ".").lower())


def column_key(name: str) -> str:
    """*name* of a column without case, with ``_`` for all but letters and digits."""
    return re.sub(r"[^\w]+", "_", normal_name(name).casefold()).strip("_")


def find_dialect(head: bytes) -> CsvDialect:
    """The dialect of the file that begins with *head*; it never raises.

    A file that is neither UTF-8 nor UTF-16 counts as UTF-8, so that reading it fails with
    the line at fault.
    """
    encoding = _encoding(head)
    lines = head.decode(encoding, errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), "")
    if first.lower().startswith(_HINT) and first[len(_HINT) :] in _DELIMITERS:
        return CsvDialect(encoding, first[len(_HINT) :], lines.index(first) + 1)
    return CsvDialect(encoding, _most_frequent(first))


def _encoding(head: bytes) -> str:
    if head.startswith(_MARKS):
        return "utf-16"
    # Without a byte order mark, an ASCII header has a zero in each character.
    zeros = [not byte for byte in head[:2]]
    if zeros == [False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False] else "utf-8-sig"


def _used(cells: list[str]) -> int:
    """The number of *cells* up to the last one that is not blank."""
    return max(number for number, cell in enumerate(cells, start=1) if cell.strip())


def _checked(line: int, cells: list[str], width: int) -> list[str]:
    if any(map(str.strip, cells[width:])):
        reason = (
            f"it has {len(cells)} columns, the header has {width}: name every column in "
            "the first line, and put quotes around cells that hold the separator"
        )
        raise CsvFaultError(line, reason)
    if not is_utf8("".join(cells)):
        wrong = next(cell for cell in cells if not is_utf8(cell))
        shown = quoted(wrong.encode(errors="surrogateescape"))
        raise CsvFaultError(
            line, f"it is not UTF-8 ({shown}): save the file as CSV in UTF-8"
        )
    return cells[:width] + [""] * (width - len(cells))


def _most_frequent(header: str) -> str:
    outside = "".join(header.split('"')[::2])
    # The first of equals wins: a header of one column is separated by commas.
    return max(_DELIMITERS, key=outside.count)
