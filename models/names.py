"""Names as one kind of text: file names, ids and labels, wherever they are compared.

macOS and some zip programs write an accented letter as two characters (NFD), most other
systems as one (NFC, Unicode Standard Annex 15); both look the same to people. So ids,
labels and file names are compared, stored and written in NFC. A file is still opened by
the name that its folder gave.
"""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_LEADING_ZEROS: Final = re.compile(r"(?<![0-9])0+(?=[0-9])")
_FLOAT: Final = re.compile(r"[0-9]+\.0")
_MOST_COMPARED: Final = 20_000
_CONTROL: Final = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


def normal_name(name: str) -> str:
    """*name* in NFC, without spaces around it: the form in which names are compared."""
    return unicodedata.normalize("NFC", name).strip()


def loose_name(name: str) -> str:
    """*name* without case, leading zeros of its numbers, and the ``.0`` of a number.

    Windows changes the first, Excel the second, and pandas writes a column of numbers
    with a gap as floats; to be asked only after the names themselves were compared.
    """
    return _LEADING_ZEROS.sub("", whole_number(normal_name(name).casefold()))


def whole_number(name: str) -> str:
    """*name*, without the ``.0`` if it is a whole number written as a float."""
    return name.removesuffix(".0") if _FLOAT.fullmatch(name) else name


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """That of the first 20,000 *names* which is most like *name*; None: none is."""
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
    """*name* as UTF-8 text for people: bytes that are none are shown as escapes."""
    return name.encode(errors="backslashreplace").decode()
