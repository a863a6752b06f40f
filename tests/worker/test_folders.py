"""Which folders are taken, which files are images, and in what order."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.errors import InvalidRequestError
from tests.pictures import grey
from worker.items import Listing
from worker.sources.local import LocalFolder, LocalRoot
from worker.sources.source import list_photos


def listing_of(folder: Path) -> Listing:
    return list_photos(LocalFolder(folder, "test"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "test" / "inner").mkdir(parents=True)
    (root / "file.jpg").write_bytes(b"x")
    (tmp_path / "secret").mkdir()
    (root / "way-out").symlink_to(tmp_path / "secret")
    (root / "way-in").symlink_to(root / "test")
    (root / "loop").symlink_to(root / "loop")
    return root


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "./", "..", "../secret", "test/../../secret", "test/.."),
        *("/", "/etc", "test\0", "te\\st", "test\n", "missing", "file.jpg"),
        *("way-out", "way-out/x", "loop", "x" * 5000, "\udcff"),
    ],
)
def test_folder_outside_the_root_is_refused(root: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        LocalRoot(root).folder(name)

    assert refused.value.code == "invalid_input"
    assert str(root.parent) not in str(refused.value)


@pytest.mark.parametrize("name", ["test", "test/", "./test", "test/inner", "way-in"])
def test_folder_inside_the_root_is_taken(root: Path, name: str) -> None:
    assert LocalRoot(root).folder(name).path.is_relative_to(root / "test")


def test_order_is_numbers_then_natural(tmp_path: Path) -> None:
    names = ["10.png", "b2.jpg", "9.jpg", "b10.jpg", "a.jpg", "1.jpg", "img_2.v1.jpg"]
    for name in names:
        (tmp_path / name).touch()

    ids = [item.id for item in listing_of(tmp_path).items]

    assert ids == ["1", "9", "10", "a", "b2", "b10", "img_2.v1"]


def test_what_is_no_image_is_left_out_and_told(tmp_path: Path) -> None:
    left_out = [
        "labels.CSV",
        "readme.md",
        "run.py",
        "1.xml",
        "1.MOV",
        "1.xlsx",
        "noise",
    ]
    systems = [
        ".hidden.jpg",
        "._1.jpg",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "Icon\r",
    ]
    for name in [*left_out, *systems, "1.jpg", "2.HEIC"]:
        (tmp_path / name).touch()
    (tmp_path / "noise").write_bytes(b"\0\0\0\x14ftypqt  ")
    (tmp_path / "3").write_bytes(grey(3))
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "1.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")

    listing = listing_of(tmp_path)

    assert [item.file for item in listing.items] == ["1.jpg", "2.HEIC", "3"]
    assert set(listing.ignored) == {*left_out, "folder", "link.jpg", "pipe.jpg"}


@pytest.mark.parametrize(
    ("first", "second"), [("7.jpg", "7.png"), ("7.jpg", "07.jpg"), ("a.jpg", "a.png")]
)
def test_two_files_of_one_id_are_named(tmp_path: Path, first: str, second: str) -> None:
    for name in (first, second):
        (tmp_path / name).touch()

    with pytest.raises(InvalidRequestError) as refused:
        listing_of(tmp_path)

    assert first in str(refused.value)
    assert second in str(refused.value)


@pytest.mark.parametrize("name", [b"a\nb.jpg", b"\xff.jpg", b"a\x7f.jpg"])
def test_name_that_no_csv_can_hold_is_refused(tmp_path: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()

    with pytest.raises(InvalidRequestError, match="rename the file"):
        listing_of(tmp_path)


def test_no_file_that_is_called_as_a_photo_is_opened(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    (tmp_path / "2.txt").touch()
    looked_into: list[str] = []

    class Watched(LocalFolder):
        def starts(self, inner: str, files: Sequence[str]) -> list[bytes]:
            looked_into.extend(files)
            return super().starts(inner, files)

    list_photos(Watched(tmp_path, "test"))

    assert looked_into == ["2.txt"]


def test_only_folder_below_is_taken(tmp_path: Path) -> None:
    inner = tmp_path / "fastai" / "unknown"
    (inner / "deeper").mkdir(parents=True)
    (inner / "1.jpg").touch()
    (inner / "notes.txt").touch()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "labels.csv").touch()

    listing = listing_of(tmp_path)

    assert listing.items == (("1", "fastai/unknown/1.jpg"),)
    assert listing.inner == "fastai/unknown"
    assert listing.ignored == (
        *("fastai/unknown/deeper", "fastai/unknown/notes.txt", "labels.csv"),
    )


def test_folders_below_are_named_where_they_are_several(tmp_path: Path) -> None:
    for name in ("train", "unknown"):
        (tmp_path / "data" / name).mkdir(parents=True)

    with pytest.raises(InvalidRequestError, match="'test/data/train', 'test/data/unk"):
        listing_of(tmp_path)


NFD = unicodedata.normalize("NFD", "café")


def test_ids_are_in_nfc_and_files_as_the_folder_spells_them(tmp_path: Path) -> None:
    (tmp_path / f"{NFD}.jpg").touch()

    [item] = listing_of(tmp_path).items

    assert item == ("café", f"{NFD}.jpg")


def test_one_name_in_two_unicode_forms_is_one_id(tmp_path: Path) -> None:
    for name in (NFD, "café"):
        (tmp_path / f"{name}.jpg").touch()

    # As they look the same, both are spelled out.
    words = r"'cafe\\u0301.jpg' and 'caf\\xe9.jpg' have the same id"
    with pytest.raises(InvalidRequestError, match=words):
        listing_of(tmp_path)


def test_folder_is_found_in_any_unicode_form(tmp_path: Path) -> None:
    (tmp_path / NFD / "test").mkdir(parents=True)

    assert LocalRoot(tmp_path).folder("café/test").path == tmp_path / NFD / "test"


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.md").touch()

    with pytest.raises(InvalidRequestError, match="holds no image"):
        listing_of(tmp_path)
