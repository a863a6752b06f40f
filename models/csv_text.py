"""How a CSV file was written: its encoding and what separates its columns.

Excel and Numbers write semicolons where the comma is the decimal sign, tabs for "Unicode
text", UTF-16 with a byte order mark, and sometimes a first line ``sep=;``.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 64 * 1024
"""How much of a file `find_dialect` needs to see."""

_DELIMITERS: Final = (",", ";", "\t")
_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HINT: Final = "sep="


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


def find_dialect(head: bytes) -> CsvDialect:
    """The dialect of the file that begins with *head*; it never raises.

    What is neither UTF-8 nor UTF-16 is called UTF-8, so that reading it fails with the
    line at fault.
    """
    encoding = "utf-16" if head.startswith(_MARKS) else "utf-8-sig"
    lines = head.decode(encoding, errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), "")
    if first.lower().startswith(_HINT) and first[len(_HINT) :] in _DELIMITERS:
        return CsvDialect(encoding, first[len(_HINT) :], lines.index(first) + 1)
    return CsvDialect(encoding, _most_frequent(first))


def _most_frequent(header: str) -> str:
    outside = "".join(_unquoted(header))
    # The first of equals wins: a header of one column is separated by commas.
    return max(_DELIMITERS, key=outside.count)


def _unquoted(header: str) -> Iterable[str]:
    return header.split('"')[::2]
