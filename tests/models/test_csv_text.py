"""How a CSV file was written is found out from its beginning."""

from __future__ import annotations

import pytest

from models.csv_text import CsvDialect, find_dialect


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
