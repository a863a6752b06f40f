"""Text: names as Unicode, and the encoding and separator of CSV files."""

from __future__ import annotations

import pytest

from models.text import (
    CsvDialect,
    find_dialect,
    has_control,
    is_utf8,
    is_writable,
    normal_name,
    printable,
)


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        (" cat \t", "cat"),
        ("\N{HANGUL CHOSEONG KIYEOK}\N{HANGUL JUNGSEONG A}", "\N{HANGUL SYLLABLE GA}"),
        ("two words", "two words"),
    ],
)
def test_names_are_compared_in_nfc_and_stripped(name: str, normal: str) -> None:
    assert normal_name(name) == normal
    assert normal_name(normal) == normal


def test_names_of_other_bytes_are_told_and_shown() -> None:
    other = b"m\xfcller.jpg".decode(errors="surrogateescape")
    assert not is_utf8(other)
    assert not is_writable(other)
    assert printable(other) == "m\\udcfcller.jpg"
    assert is_writable("m\N{LATIN SMALL LETTER U WITH DIAERESIS}ller.jpg")
    assert has_control("a\nb")
    assert not is_writable("a\nb")


@pytest.mark.parametrize(
    ("head", "dialect"),
    [
        (b"id,label\n1,cat\n", CsvDialect("utf-8-sig", ",")),
        (b"\xef\xbb\xbfid;label\r\n", CsvDialect("utf-8-sig", ";")),
        (b"id|label\n1|a,b\n", CsvDialect("utf-8-sig", "|")),
        (b"\n\nid\tlabel\n", CsvDialect("utf-8-sig", "\t")),
        ("id;label\r\n".encode("utf-16"), CsvDialect("utf-16", ";")),
        (b'"a;b;c",label\n', CsvDialect("utf-8-sig", ",")),
        (b"sep=;\r\nid;label\r\n", CsvDialect("utf-8-sig", ";", 1)),
        (b"\nsep=,\nid,label\n", CsvDialect("utf-8-sig", ",", 2)),
        (b"image\n1.jpg\n", CsvDialect("utf-8-sig", ",")),
        (b"", CsvDialect("utf-8-sig", ",")),
        (b"\xff\xfe", CsvDialect("utf-16", ",")),
        ("id;label\n".encode("utf-16-le"), CsvDialect("utf-16-le", ";")),
        ("id\tlabel\n".encode("utf-16-be"), CsvDialect("utf-16-be", "\t")),
        (b"m\xfcller;label\n", CsvDialect("utf-8-sig", ";")),
    ],
)
def test_the_dialect_is_found(head: bytes, dialect: CsvDialect) -> None:
    assert find_dialect(head) == dialect
