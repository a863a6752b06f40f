"""Archives: unpacked flat under the rule of folders, and every trick refused by name."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import InvalidRequestError
from tests.worker.packing import (
    encrypted,
    greedy_tar,
    greedy_zip,
    large_file_zip,
    lying,
    nested_names_tar,
    renamed,
    streamed_zip,
    tarred,
    tarred_entry,
    unlisted_zip,
    zeroed,
    zipped,
    zipped_entry,
)
from worker.archives.bounds import Bounds
from worker.archives.unpacking import unpack_archive
from worker.items import Listing

SMALL = Bounds(files=5, file_bytes=1000, total_bytes=1500)
TAR = tarred({"1.jpg": b"one", "2.jpg": b"two" * 400})
LONG_TAR = tarred({f"{number}.jpg": b"x" * 400 for number in range(20)})
GZ = gzip.compress(TAR, mtime=0)
ZIP = zipped({"1.jpg": b"one", "2.jpg": os.urandom(2000)})


def unpack(archive: bytes, folder: Path, bounds: Bounds | None = None) -> Listing:
    return unpack_archive(io.BytesIO(archive), folder / "photos", bounds or Bounds())


@pytest.mark.parametrize(
    "pack",
    [zipped, tarred, lambda files: tarred(files, "w:gz")],
    ids=["zip", "tar", "tar.gz"],
)
@pytest.mark.parametrize("prefix", ["", "test/", "./", "all/of/them/"])
def test_photos_of_one_folder_are_unpacked_flat(
    tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes], prefix: str
) -> None:
    files = {f"{prefix}{number}.jpg": bytes([number]) * 99 for number in (10, 9)}

    listing = unpack(pack(files), tmp_path)

    assert [item.file for item in listing.items] == ["9.jpg", "10.jpg"]
    written = {path.name: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    assert written == {"9.jpg": b"\x09" * 99, "10.jpg": b"\x0a" * 99}


def test_rule_of_folders_decides_what_is_left_out(tmp_path: Path) -> None:
    files = {
        "sample.csv": b"",
        "test/readme.md": b"",
        "test/7.jpg": b"7",
        "test/deeper/8.jpg": b"8",
        "test/.hidden.jpg": b"",
        "__MACOSX/test/._7.jpg": b"",
        "test/.DS_Store": b"",
        "test/a.mp4": b"",
        "test/b": b"\xff\xd8\xff and more",
        "test/Thumbs.db": b"x",
        "test/Icon\r": b"",
        "test/@eaDir/7.jpg": b"x",
    }

    listing = unpack(zipped(files), tmp_path)

    assert [item.file for item in listing.items] == ["7.jpg", "b"]
    assert listing.ignored == ("a.mp4", "deeper", "readme.md", "sample.csv")
    assert sorted(os.listdir(tmp_path / "photos")) == ["7.jpg", "b"]  # noqa: PTH208


@pytest.mark.parametrize("pack", [zipped, lambda files: tarred(files, "w:gz")])
def test_what_lies_beside_photos_of_one_name_is_left_out(
    tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    files = {
        "IMG_1.JPG": b"x",
        "IMG_1.MOV": b"\0\0\0\x14ftypqt  ",
        "IMG_1.AAE": b"<?xml",
    }

    listing = unpack(pack(files), tmp_path)

    assert [item.file for item in listing.items] == ["IMG_1.JPG"]
    assert listing.ignored == ("IMG_1.AAE", "IMG_1.MOV")


def test_file_that_is_listed_is_a_photo(tmp_path: Path) -> None:
    archive = zipped({"1.jpg": b"x", "2.bin": b"y", "3.bin": b"z"})

    listing = unpack_archive(
        io.BytesIO(archive), tmp_path / "photos", Bounds(), {"2.bin"}
    )

    assert [item.file for item in listing.items] == ["1.jpg", "2.bin"]


INNER = zipped({"test/2.jpg": b"two", "test/1.jpg": b"one"})


@pytest.mark.parametrize("name", ["a/test.zip", "test.tar.gz"])
def test_archive_of_one_archive_stands_for_it(tmp_path: Path, name: str) -> None:
    inner = INNER if name.endswith(".zip") else GZ
    outer = zipped({name: inner, "a/notes.txt": b"x", "__MACOSX/a/._test.zip": b"x"})

    listing = unpack(outer, tmp_path)

    assert [item.file for item in listing.items] == ["1.jpg", "2.jpg"]
    assert (tmp_path / "photos" / "1.jpg").read_bytes() == b"one"


NESTED = {
    "twice": (zipped({"b.zip": zipped({"a.zip": INNER})}), r"archives \('a.zip'\)"),
    "none of ours": (zipped({"a.7z": b"x"}), r"archives \('a.7z'\)"),
    "damaged": (zipped({"a.zip": INNER[:-9]}), "damaged"),
    "a bomb": (
        zipped(
            {"a.zip": zipped({"1.bmp": bytes(22 * 10**6), "2.bmp": bytes(22 * 10**6)})}
        ),
        "unpacks to more",
    ),
}


@pytest.mark.parametrize("case", NESTED)
def test_archive_in_an_archive_is_bounded(tmp_path: Path, case: str) -> None:
    archive, words = NESTED[case]
    bounds = Bounds(total_bytes=40 * 10**6)

    with pytest.raises(InvalidRequestError, match=words):
        unpack(archive, tmp_path, bounds)

    assert not (tmp_path / "photos").exists()


@pytest.mark.parametrize("archive", [lying(10, b"x" * 5000), ZIP])
def test_file_that_has_to_be_looked_into_may_be_damaged(
    tmp_path: Path, archive: bytes
) -> None:
    damaged = archive.replace(b"1.jpg", b"1.dat").replace(b"PK\3\4", b"PK\3\5", 1)

    with pytest.raises(InvalidRequestError, match="damaged"):
        unpack(damaged, tmp_path)


def test_backslashes_separate_folders(tmp_path: Path) -> None:
    listing = unpack(separated(b"pets\\1.jpg", b"pets\\2.jpg"), tmp_path)

    assert [item.file for item in listing.items] == ["1.jpg", "2.jpg"]


def test_backslashes_lead_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="absolute or holds"):
        unpack(separated(b"..\\..\\1.jpg"), tmp_path)


def separated(*names: bytes) -> bytes:
    """A zip as some programs of Windows write it."""
    packed = zipped({name.decode().replace("\\", "/"): b"x" for name in names})
    for name in names:
        packed = packed.replace(name.replace(b"\\", b"/"), name)
    return packed


def test_name_in_utf8_without_the_mark_is_taken(tmp_path: Path) -> None:
    listing = unpack(renamed("ünn.jpg".encode() + b"", "12345678"[:8]), tmp_path)

    assert {item.file for item in listing.items} == {"1.jpg", "ünn.jpg"}


def twice() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("a/1.jpg", b"x")
    return stream.getvalue()


LINK = (stat.S_IFLNK | 0o777) << 16
FIFO = (stat.S_IFIFO | 0o644) << 16

TRICKS = {
    "absolute path": (zipped({"/etc/1.jpg": b"x"}), "'/etc/1.jpg' is absolute"),
    "absolute path in a tar": (tarred({"/etc/1.jpg": b"x"}), "is absolute"),
    "drive": (zipped_entry("C:/1.jpg"), "'C:/1.jpg' is absolute"),
    "way out": (zipped({"a/../../1.jpg": b"x"}), "'a/../../1.jpg' is absolute or"),
    "way out of a tar": (tarred({"../1.jpg": b"x"}), "'../1.jpg'"),
    "NUL": (zipped_entry("2.jpg\0.png"), "control character"),
    "line break": (tarred({"a\nb.jpg": b"x"}), "rename the file"),
    "long name": (zipped({"n" * 256 + ".jpg": b"x"}), "too long"),
    "no name": (tarred_entry("./", tarfile.REGTYPE), "without a name"),
    "link": (zipped_entry("2.jpg", b"/etc/passwd", external_attr=LINK), "'2.jpg' is a"),
    "FIFO": (zipped_entry("2.jpg", external_attr=FIFO), "special file"),
    "link in a tar": (
        tarred_entry("2.jpg", tarfile.SYMTYPE, linkname="/etc/passwd"),
        "'2.jpg' is a link",
    ),
    "hard link": (tarred_entry("2.jpg", tarfile.LNKTYPE, linkname="1.jpg"), "link"),
    "device": (tarred_entry("2.jpg", tarfile.CHRTYPE), "special file"),
    "FIFO in a tar": (tarred_entry("2.jpg", tarfile.FIFOTYPE), "special file"),
    "hole": (tarred_entry("2.jpg", tarfile.GNUTYPE_SPARSE), "special file"),
    "encrypted": (encrypted(), "'2.jpg' is encrypted"),
    "method": (zipped({"1.jpg": b"x"}, zipfile.ZIP_LZMA), "method 14: use deflate"),
    "twice": (twice(), "'a/1.jpg' twice"),
    "same id": (zipped({"7.jpg": b"x", "07.png": b"x"}), "have the same id"),
    "archive inside": (
        zipped({"1.jpg": b"x", "b.tar.gz": b"x"}),
        r"archives \('b.tar.gz'\)",
    ),
    "archives alone": (
        zipped({"a/train.zip": b"x", "a/2.zip": b"x"}),
        r"archives \('a/2.zip', 'a/train.zip'\)",
    ),
    "names in GBK": (
        renamed("小狗.jpg".encode("gbk"), "12345678"),
        "pack it again with",
    ),
    "names in cp437": (renamed("é.jpg".encode("cp437"), "12345"), "older encoding"),
    "several folders": (zipped({"a/1.jpg": b"", "b/2.jpg": b""}), r"folders \(a, b\)"),
    "no image": (zipped({"readme.md": b"x"}), "holds no image"),
    "empty zip": (zipped({}), "holds no image"),
    "empty tar": (tarred({}), "holds no image"),
    "nothing": (b"", "no zip, tar or tar.gz"),
    "an image": (b"\xff\xd8\xff" + os.urandom(2000), "no zip, tar or tar.gz"),
    "names in latin-1": (
        renamed(b"\xfc.jpg", "u.jpg"[:5]),
        r"'\\xfc.jpg' is not UTF-8",
    ),
    "names in latin-1 in a tar": (tarred({"\udcfc.jpg": b"x"}), "not UTF-8"),
    "greedy tar": (greedy_tar(), "damaged or hostile"),
    "greedy zip": (greedy_zip(), "damaged"),
    "recursion": (nested_names_tar(), "damaged"),
    "cut zip": (ZIP[:-10], "damaged"),
    "cut tar.gz": (GZ[:-10], "damaged"),
    "tar cut in a header": (TAR[:1100], "cut off or damaged"),
    "tar cut between files": (TAR[:1024], "cut off"),
    "tar cut in a file": (TAR[:2000], "damaged"),
    "tar with a broken header": (
        TAR[:1024] + b"\x01" + TAR[1025:],
        "cut off or damaged",
    ),
    "zip with a flipped bit": (
        ZIP[:900] + bytes([ZIP[900] ^ 1]) + ZIP[901:],
        "damaged",
    ),
    "tar.gz with a wrong sum": (GZ[:-8] + b"\0" * 8, "damaged"),
    "shrunk claim": (lying(20, b"x" * 555), "damaged"),
}


FOLLOWED = "follows after its end"
LOST = {
    "zeroed page in a tar": (zeroed(LONG_TAR, 4 * 1024, 4096), FOLLOWED),
    "zeroed page in a tar.gz": (
        gzip.compress(zeroed(LONG_TAR, 4 * 1024, 4096)),
        FOLLOWED,
    ),
    "zeroed header": (zeroed(LONG_TAR, 3072, 512), "cut off or damaged"),
    "zeroed to the end": (
        zeroed(tarred({"1.jpg": b"x", "2.bmp": b"x" * 2**21}), 1024, 2**21 + 512),
        "zeros only",
    ),
    "tar without an end mark": (TAR[:3072], "cut off"),
    "tar with half an end mark": (TAR[:3584], "cut off"),
    "tar.gz without an end mark": (gzip.compress(TAR[:3072]), "cut off"),
    "two tars in one": (TAR + TAR, FOLLOWED),
    "two tar.gz in one": (GZ + GZ, FOLLOWED),
    "tar.gz and more": (GZ + b"more", "damaged"),
    "tar and more": (TAR + b"more", FOLLOWED),
    "tar.gz of which the last bytes are missing": (GZ[:-1], "damaged"),
    "zip whose list lacks a file": (unlisted_zip(counted=False), "list of files"),
    "zip whose list is too short": (unlisted_zip(counted=True), "of 2 files it lists"),
    "two zips in one": (ZIP + ZIP, "list of files"),
    "zip and a half": (ZIP + ZIP[:1000], FOLLOWED),
    "zip and more": (ZIP + b"more", FOLLOWED),
}


@pytest.mark.parametrize("damage", LOST)
def test_archive_that_would_lose_photos_unseen_is_refused(
    tmp_path: Path, damage: str
) -> None:
    archive, words = LOST[damage]

    with pytest.raises(InvalidRequestError, match=words) as refused:
        unpack(archive, tmp_path)

    assert refused.value.code == "invalid_archive"


TWO = {"1.jpg": b"one", "2.jpg": b"two" * 400}


@pytest.mark.parametrize(
    "archive",
    [
        TAR[:3072] + bytes(2000),
        gzip.compress(TAR[:1500]) + gzip.compress(TAR[1500:]) + bytes(100),
        streamed_zip(TWO),
        large_file_zip(TWO),
    ],
    ids=["tar padded oddly", "tar.gz of two parts", "streamed zip", "zip64"],
)
def test_unusual_archive_is_taken(tmp_path: Path, archive: bytes) -> None:
    listing = unpack(archive, tmp_path)

    assert [item.file for item in listing.items] == ["1.jpg", "2.jpg"]
    assert (tmp_path / "photos" / "2.jpg").read_bytes() == TWO["2.jpg"]


@pytest.mark.parametrize("trick", TRICKS)
def test_trick_is_refused_by_name(tmp_path: Path, trick: str) -> None:
    archive, words = TRICKS[trick]

    with pytest.raises(InvalidRequestError, match=words) as refused:
        unpack(archive, tmp_path)

    assert refused.value.code in {"invalid_archive", "invalid_input"}
    assert str(tmp_path) not in str(refused.value)


BOMBS = {
    "too many": (zipped({f"{n}.jpg": b"x" for n in range(6)}), "too_many_images"),
    "too many in a tar": (
        tarred({f"{n}.jpg": b"x" for n in range(6)}),
        "too_many_images",
    ),
    "one is large": (zipped({"1.jpg": b"x" * 1001}), "too_large"),
    "all are large": (tarred({f"{n}.jpg": b"x" * 999 for n in (1, 2)}), "too_large"),
    "one is large in a tar.gz": (
        tarred({"1.jpg": bytes(10**6)}, "w:gz"),
        "too_large",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bound_is_kept(tmp_path: Path, bomb: str) -> None:
    archive, code = BOMBS[bomb]

    with pytest.raises(InvalidRequestError) as refused:
        unpack(archive, tmp_path, SMALL)

    assert refused.value.code == code
    assert not (tmp_path / "photos").exists()


def test_bomb_is_told_by_its_ratio(tmp_path: Path) -> None:
    archive = zipped({f"{number}.bmp": bytes(22 * 10**6) for number in range(4)})

    with pytest.raises(InvalidRequestError, match="unpacks to more than") as refused:
        unpack(archive, tmp_path)

    assert refused.value.code == "too_large"


def test_claims_are_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError):
        unpack(lying(10, b"x" * 5000), tmp_path, SMALL)

    assert all(path.stat().st_size <= 10 for path in tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("seed", range(3))
def test_mutated_archive_is_unpacked_or_refused(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    for number in range(60):
        archive = bytearray(dice.choice([ZIP, TAR, GZ]))
        for _ in range(dice.randint(1, 8)):
            archive[dice.randrange(len(archive))] = dice.randrange(256)
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            unpack(bytes(archive), folder)
        except InvalidRequestError:
            continue
