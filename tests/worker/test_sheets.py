"""CSV files that order a job: each way to write one has a stated outcome."""

from __future__ import annotations

import hashlib
import io
import itertools
import unicodedata
from collections.abc import Sequence

import pytest

from models.errors import InvalidRequestError
from models.text import normal_name
from worker.items import Item, Names, file_name, file_stem
from worker.naming import Named
from worker.sheets.listing import list_manifest
from worker.sheets.reading import Sheet
from worker.sheets.sample import follow_sample

NFD = unicodedata.normalize("NFD", "café")
FOLDER = (Item("1", "1.jpg"), Item("2", "2.jpg"), Item("10", "10.jpg"))


def sheet(content: bytes, name: str = "sample_submission") -> Sheet:
    return Sheet(name, io.BytesIO(content), hashlib.sha256(content).hexdigest())


def ordered(content: bytes, items: Sequence[Item] = FOLDER) -> list[tuple[str, str]]:
    return [(item.id, item.file) for item in follow_sample(sheet(content), items)]


def refusal(content: bytes) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        ordered(content)
    assert refused.value.code == "invalid_input"
    return str(refused.value)


SAMPLES = {
    "plain": b"id,label\n10,0\n1,0\n2,0\n",
    "byte order mark": b"\xef\xbb\xbfid,label\n10,0\n1,0\n2,0\n",
    "windows": b"id,label\r\n10,0\r\n1,0\r\n2,0\r\n",
    "old macintosh": b"id,label\r10,0\r1,0\r2,0\r",
    "no last line end": b"id,label\n10,0\n1,0\n2,0",
    "quotes": b'"id","label"\n"10",0\n"1",0\n"2",0\n',
    "semicolons": b"id;label\r\n10;0\r\n1;0\r\n2;0\r\n",
    "named separator": b"sep=;\r\nid;label\r\n10;0\r\n1;0\r\n2;0\r\n",
    "Excel's Unicode text": "id\tlabel\r\n10\t0\r\n1\t0\r\n2\t0\r\n".encode("utf-16"),
    "UTF-16 without mark": "id;label\n10;0\n1;0\n2;0\n".encode("utf-16-be"),
    "empty columns": b"id,label,,\n10,0,,\n1,0,,\n2,0\n,,,\n",
    "blank lines": b"\nid,label\n\n10,0\n  ,\n1,0\n,\n2,0\n\n",
}


@pytest.mark.parametrize("case", SAMPLES)
def test_sample_gives_its_order(case: str) -> None:
    assert ordered(SAMPLES[case]) == [("10", "10.jpg"), ("1", "1.jpg"), ("2", "2.jpg")]


def test_ids_may_be_file_names() -> None:
    found = ordered(b"img,c0\n2.jpg,0\n1.jpg,0\n10.jpg,0\n")

    assert found == [("2.jpg", "2.jpg"), ("1.jpg", "1.jpg"), ("10.jpg", "10.jpg")]


def test_ids_keep_their_spaces_though_these_do_not_count() -> None:
    assert ordered(b"id,label\n 2,0\n1 ,0\n10,0\n") == [
        *((" 2", "2.jpg"), ("1 ", "1.jpg"), ("10", "10.jpg"))
    ]


@pytest.mark.parametrize(
    "ids",
    [
        *(("café", "IMG_1"), (NFD, "IMG_1"), (" café ", "IMG_1 ")),
        *(
            ("CAFÉ.JPG", "img_1.jpg"),
            ("test\\café", "test\\IMG_1"),
            ("t/café.JPG", "t/img_1.JPG"),
        ),
    ],
)
def test_ids_keep_the_samples_spelling(ids: tuple[str, str]) -> None:
    items = (Item("café", f"{NFD}.jpg"), Item("IMG_1", "IMG_1.jpg"))
    content = "".join(f"{each},0\n" for each in ("id", *ids)).encode()

    assert ordered(content, items) == [(ids[0], f"{NFD}.jpg"), (ids[1], "IMG_1.jpg")]


def test_ids_that_differ_in_case_alone_are_two() -> None:
    items = (Item("a", "a.jpg"), Item("A", "A.jpg"))

    assert ordered(b"id,p\nA,0\na,0\n", items) == [("A", "A.jpg"), ("a", "a.jpg")]


def test_ids_of_a_manifest_come_before_file_names() -> None:
    items = (Item("b.jpg", "a.jpg"), Item("a.jpg", "b.jpg"))

    assert ordered(b"id,p\na.jpg,0\nb.jpg,0\n", items) == [
        *(("a.jpg", "b.jpg"), ("b.jpg", "a.jpg"))
    ]


UNREADABLE = {
    "empty": (b"", "it needs a header, and a row"),
    "blank": (b"\n\n , \n", "it needs a header, and a row"),
    "no rows": (b"id,label\n", "it needs a header, and a row"),
    "lost zeros": (b"id,label\n1,0\n2,0\n010,0\n", "line 4: the nearest to '010' is '10'"),
    "rubbish": (bytes(range(128, 256)), "line 1 cannot be used: it is not UTF-8"),
    "latin 1": (b"id,label\n1,0\n\xfc,0\n", r"line 3 cannot be used: it is not UTF-8 ('\xfc')"),
    "long row": (b"id,label\n1,0,0\n", "line 2 cannot be used: it has 3 columns"),
    "open quote": (b'id,label\n1,0\n"2,0\n10,0\n', "is no CSV"),
    "lost quote": (b'id,label\n1,0\n"2"x,0\n', "line 3 cannot be used: it is no CSV"),
    "huge cell": (b'id,label\n"' + b"1\n" * 90_000, "field larger than field limit"),
    "id twice": (b"id,label\n1,0\n2,0\n1,0\n", "line 4 cannot be used: id '1' is in line 2"),
    "other zeros": (b"id,label\n01,0\n2,0\n10,0\n", "1 of its ids have no image ('01')"),
    "mixed ways": (b"id,label\n1.jpg,0\n2,0\n10,0\n", "no image ('1.jpg')"),
    "line end in id": (b'id,label\n"1\n",0\n2,0\n10,0\n', "no image"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_sample_that_does_not_fit_is_explained(case: str) -> None:
    content, words = UNREADABLE[case]

    assert words in refusal(content)


def test_both_differences_are_told_with_counts() -> None:
    rows = b"".join(b"x%d,0\n" % number for number in range(1_234))

    message = refusal(b"id,label\n1,0\n" + rows)

    assert "1,234 of its ids have no image ('x0', 'x1'" in message
    assert "'x9' and 1,224 more" in message
    assert "2 images are not in it ('2', '10'); a manifest" in message


class Endless(io.RawIOBase):
    """A CSV that does not end."""

    def __init__(self) -> None:
        self._rows = itertools.chain([b"id,p\n"], itertools.repeat(b"1,0\n" * 4096))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, *_: int) -> int:
        return 0

    def read(self, *_: int) -> bytes:
        return next(self._rows)

    read1 = read


def test_rows_are_bounded() -> None:
    endless = Sheet("manifest", Endless(), "")  # type: ignore[arg-type]

    with pytest.raises(InvalidRequestError, match="1,000,000 rows") as refused:
        for _ in endless.rows():
            pass

    assert refused.value.code == "too_many_images"


INSIDE = {
    "": Names(("b.jpg", "a.jpg", "7.jpg", "00012.JPG"), ("cats", NFD)),
    "cats/young": Names(("a.jpg", "c.jpg")),
    NFD: Names((f"{NFD}.png", "notes.txt")),
}


def listed(content: bytes, *, by_name: bool = False) -> list[Item]:
    make_id = file_name if by_name else file_stem
    manifest = sheet(content, "manifest")
    return [*list_manifest(manifest, lambda path: INSIDE.get(path, Names()), make_id)]


@pytest.mark.parametrize(
    "column",
    [
        *("file", "filename", "image", "img", "path", " File "),
        *("image_id", "id_code", "Image Name", "photo", "id"),
    ],
)
def test_manifest_is_the_order(column: str) -> None:
    content = f"label,{column}\ndog,b.jpg\ncat,cats/young/c.jpg\n,a.jpg\n".encode()

    assert listed(content) == [
        *(Item("b", "b.jpg"), Item("c", "cats/young/c.jpg"), Item("a", "a.jpg"))
    ]
    assert listed(content, by_name=True)[1] == Item("c.jpg", "cats/young/c.jpg")


def test_manifest_can_give_ids() -> None:
    content = b"id,file\nx,a.jpg\n y ,./cats//young/a.jpg\n"

    assert listed(content) == [Item("x", "a.jpg"), Item("y", "cats/young/a.jpg")]


@pytest.mark.parametrize(
    ("written", "file"),
    [
        *((" b.jpg ", "b.jpg"), ("B.JPG", "b.jpg"), ("b", "b.jpg")),
        *(("12", "00012.JPG"), ("0012.jpg", "00012.JPG"), ("00012.jpg", "00012.JPG")),
        *(("cats\\young\\c.jpg", "cats/young/c.jpg"), (f"{NFD}/notes.txt",) * 2),
        *(("café/café.png", f"{NFD}/{NFD}.png"), ("café/café", f"{NFD}/{NFD}.png")),
    ],
)
def test_file_is_found_as_people_write_it(written: str, file: str) -> None:
    [item] = listed(f"file\n{written}\n".encode())

    assert item == (normal_name(file_stem(file)), file)


def test_name_that_fits_two_files_loosely_is_none_of_them() -> None:
    folder = Names(("01.jpg", "001.jpg"))

    with pytest.raises(InvalidRequestError, match="not among the images"):
        list_manifest(sheet(b"file\n1.jpg\n"), lambda _: folder, file_stem)


MANIFESTS = {
    "no file column": (b"number,note\n1,a.jpg\n", "needs one column of files (file, "),
    "two file columns": (b"file,img\na.jpg,b.jpg\n", "needs one column of files"),
    "no rows": (b"file\n", "it needs a header, and a row"),
    "missing": (b"file\na.jpg\nc.jpg\ncows/d.jpg\n", "2 of its files are not among"),
    "file twice": (b"file,id\na.jpg,1\nb.jpg,2\n./a.jpg,3\n", "line 4 cannot be used: file"),
    "id twice": (b"file\na.jpg\ncats/young/a.jpg\n", "id 'a' is in line 2 already"),
    "number twice": (b"file,id\na.jpg,7\nb.jpg,07\n", "id '07' is in line 2 already"),
    "no id": (b"file,id\na.jpg, \n", "line 2 cannot be used: id '' is empty"),
    "long id": (b"file,id\na.jpg," + b"9" * 5000, "longer than 255"),
    "line end in id": (b'file,id\na.jpg,"1\n2"\n', "holds a control character"),
    "above": (b"file\n../a.jpg\n", "line 2 cannot be used: path '../a.jpg'"),
    "above, later": (b"file\ncats/../a.jpg\n", "holds '..'"),
    "absolute": (b"file\n/etc/passwd\n", "absolute"),
    "nearest": (b"file\na.jpg\ncats\\young\\b.jpg\n", "line 3: the nearest to 'cats/young/b.jpg' is 'cats/young/"),
    "NUL": (b"file\na\0.jpg\n", "control character"),
    "no name": (b"file,id\n.,1\n", "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifest_that_does_not_fit_is_explained(case: str) -> None:
    content, words = MANIFESTS[case]

    with pytest.raises(InvalidRequestError) as refused:
        listed(content)

    assert refused.value.code == "invalid_input"
    assert words in str(refused.value)


def test_names_are_cut_short() -> None:
    assert str(Named.of(["x" * 500])) == repr("x" * 80)
    assert str(Named()) == "none"
