"""Names are one form of text from the source to the split; others are refused early."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from export.data.class_folders import list_photos
from export.data.manifest import read_manifest
from export.data.photos import find_split
from export.data.split import read_split
from models.errors import DatasetError
from tests.export.data.sources import photo, prepared

CAFE = "caf\xe9"
CAFE_OF_MACOS = "cafe\u0301"
MULLER = os.fsdecode(b"m\xfcller.png")
BEAR = os.fsdecode(b"b\xe4r")


def write(folder: Path, *labels: str, name: str = "photo{}.png") -> Path:
    for first, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            path = folder / label / name.format(number)
            path.write_bytes(photo(100 * first + number))
    return folder


def test_labels_are_stored_in_one_unicode_form(tmp_path: Path) -> None:
    source = write(tmp_path / "places", CAFE_OF_MACOS, "th\xe9", name="e\u0301{}.png")

    made = prepared(source)

    assert made.manifest.labels == (CAFE, "th\xe9")
    assert (made.folder / "train" / CAFE).is_dir()
    split = find_split(made.folder, 0.25, seed=1)
    assert split.labels == find_split(source, 0.25, seed=1).labels == (CAFE, "th\xe9")
    assert all((made.folder / each.file).is_file() for each in split.train)


def test_classes_of_one_text_become_one_class(tmp_path: Path) -> None:
    source = write(tmp_path / "places", CAFE_OF_MACOS, CAFE, "bar")

    made = prepared(source)

    assert made.manifest.counts()["train"] == {"bar": 6, CAFE: 12}
    assert "same text" in made.manifest.findings[0].kind


def test_what_was_stored_in_another_form_is_read_in_this_one(tmp_path: Path) -> None:
    made = prepared(write(tmp_path / "places", CAFE, "bar"))
    split = find_split(made.folder, 0.25, seed=1)
    split.write(tmp_path / "split.json")
    for path in (made.folder / "manifest.json", tmp_path / "split.json"):
        path.write_text(path.read_text().replace(json.dumps(CAFE)[1:-1], CAFE_OF_MACOS))

    assert read_manifest(made.folder).labels == ("bar", CAFE)
    read = read_split(tmp_path / "split.json")
    assert read.labels == ("bar", CAFE)
    assert {each.label for each in read.train} == {"bar", CAFE}


def test_one_class_in_two_forms_is_one_class_too_few(tmp_path: Path) -> None:
    source = write(tmp_path / "places", CAFE_OF_MACOS, CAFE)

    for refuse in (list_photos, prepared):
        with pytest.raises(DatasetError, match="at least two"):
            refuse(source)


@pytest.mark.parametrize("place", ["class", "photo", "test photo"])
def test_name_that_is_not_utf8_is_refused_before_any_work(
    tmp_path: Path, place: str
) -> None:
    source = write(tmp_path / "pets", "cat", BEAR if place == "class" else "dog")
    target = {"class": None, "photo": source / "cat", "test photo": source / "test"}[
        place
    ]
    if target is not None:
        target.mkdir(exist_ok=True)
        (target / MULLER).write_bytes(b"no photo")

    with pytest.raises(DatasetError, match=r"not UTF-8: \S*\\udc") as refused:
        prepared(source)
    str(refused.value).encode()
    if place != "test photo":
        with pytest.raises(DatasetError, match=r"not UTF-8: \S*\\udc"):
            list_photos(source)


def test_folder_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / BEAR, "cat", "dog")

    for refuse in (prepared, lambda folder: find_split(folder, 0.25, seed=1)):
        with pytest.raises(DatasetError, match="not UTF-8"):
            refuse(source)


def test_run_of_names_that_are_not_utf8_is_refused(tmp_path: Path) -> None:
    split = find_split(write(tmp_path / "pets", "cat", "dog"), 0.25, seed=1)
    split.write(tmp_path / "split.json")
    text = (tmp_path / "split.json").read_text()
    (tmp_path / "split.json").write_text(text.replace("photo0", "m\\udcfcller"))

    with pytest.raises(DatasetError, match=r"not UTF-8: .*cat/m\\udcfcller.png"):
        read_split(tmp_path / "split.json")
