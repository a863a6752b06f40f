"""Folder trees: right classes and parts, the rest reported."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from export.data.layouts.collect import SourceOptions
from export.data.prepare import StrictError
from export.data.splits import find_split, list_photos
from models.errors import DatasetError
from tests.export.data.small_sources import (
    SPLIT,
    kinds_of,
    parts_of,
    photo,
    prepared,
    write_tree,
)

TREES: dict[str, tuple[dict[str, int], dict[str, dict[str, int]]]] = {
    "Intel": (
        {
            "seg_train__seg_train__cat": 8,
            "seg_train__seg_train__dog": 8,
            "seg_test__seg_test__cat": 2,
            "seg_test__seg_test__dog": 1,
            "seg_pred__seg_pred": 4,
        },
        {**SPLIT, "test": {"": 3}, "unlabelled": {"": 4}},
    ),
    "Udemy": (
        {
            "dataset__training_set__cat": 8,
            "dataset__training_set__dog": 8,
            "dataset__test_set__cat": 1,
            "dataset__test_set__dog": 1,
        },
        {**SPLIT, "test": {"": 2}},
    ),
    "chest x-ray": (
        {
            "xray__train__cat": 6,
            "xray__train__dog": 6,
            "xray__val__cat": 2,
            "xray__val__dog": 2,
            "xray__test__cat": 3,
            "xray__test__dog": 3,
        },
        {**SPLIT, "test": {"": 6}},
    ),
    "Kaggle, nested in itself": (
        {"train__train__cat_": 8, "train__train__dog_": 8, "test1__test1": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "other case": (
        {"TRAIN__cat": 8, "TRAIN__dog": 8, "Testing": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "two training folders": (
        {"Train1__cat": 4, "Train1__dog": 4, "Train2__cat": 4, "Train2__dog": 4},
        SPLIT,
    ),
    "training folder of another name": (
        {"images__cat": 8, "images__dog": 8, "test__cat": 1, "test__dog": 1},
        {**SPLIT, "test": {"": 2}},
    ),
    "train and validation in one": (
        {"train_val__cat": 8, "train_val__dog": 8, "test": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "wrapped three times": ({"a__b__c__cat": 8, "a__b__c__dog": 8}, SPLIT),
    "test folder outside": (
        {"data__train__cat": 8, "data__train__dog": 8, "test": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "test folder beside the classes": (
        {"cat": 8, "dog": 8, "test": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "test folder beside flat names": (
        {"cat_": 8, "dog_": 8, "test": 30},
        {**SPLIT, "test": {"": 30}},
    ),
    "test photos below a folder called unknown": (
        {"train__cat": 8, "train__dog": 8, "test__unknown": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "test photos beside a folder of classes": (
        {"labelled__cat": 8, "labelled__dog": 8, "unlabelled": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "test photos beside a folder of flat names": (
        {"images__cat_": 8, "images__dog_": 8, "test": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "classes of photos with masks and without": (
        {"masks": 8, "no masks": 8},
        {"train": {"masks": 6, "no masks": 6}, "valid": {"masks": 2, "no masks": 2}},
    ),
    "parts in each class": (
        {"cat__train": 8, "dog__train": 8, "cat__test": 1, "dog__test": 1},
        {**SPLIT, "test": {"": 2}},
    ),
    "folders in a class": ({"cat__young": 4, "cat__old": 4, "dog": 8}, SPLIT),
    "class that sounds like a part": (
        {"train__cat": 8, "train__test_tube": 8},
        {"train": {"cat": 6, "test_tube": 6}, "valid": {"cat": 2, "test_tube": 2}},
    ),
    "two classes, one called test": (
        {"control": 8, "test": 8},
        {"train": {"control": 6, "test": 6}, "valid": {"control": 2, "test": 2}},
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_parts_and_classes_are_told_apart(tmp_path: Path, name: str) -> None:
    folders, expected = TREES[name]

    assert parts_of(write_tree(tmp_path / "src", **folders)) == expected


@pytest.mark.parametrize("name", ["Intel", "chest x-ray", "Kaggle, nested in itself"])
def test_train_sees_what_prepare_sees(tmp_path: Path, name: str) -> None:
    folders, expected = TREES[name]

    split = find_split(write_tree(tmp_path / "src", **folders), 0.25, seed=1)

    assert split.counts() == {part: expected[part] for part in ("train", "valid")}


def test_labelled_test_part_keeps_its_truth(tmp_path: Path) -> None:
    source = write_tree(
        tmp_path / "src",
        train__cat=8,
        train__dog=8,
        test__cat=2,
        test__dog=1,
    )
    (source / "test" / "dog" / "1.jpg").write_bytes(photo(900))

    made = prepared(source)

    with (made.folder / "truth.csv").open() as stream:
        truth = {row["id"]: row["label"] for row in csv.DictReader(stream)}
    # Equal ids would be one row: files are told apart by name without suffix.
    assert truth == {"0": "0", "1": "0", "test-dog-0": "1", "test-dog-1": "1"}
    assert {path.stem for path in (made.folder / "test").iterdir()} == set(truth)


def test_classes_that_are_there_twice_are_merged_and_reported(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", flowers__rose=8, flowers__tulip=8)
    for path in list(source.rglob("*.png")):
        copy = source / "flowers" / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())

    made = prepared(source)

    assert made.manifest.labels == ("rose", "tulip")
    kinds = {finding.kind: finding.examples for finding in made.manifest.findings}
    assert kinds["folder that holds the classes beside it again"] == (
        "flowers/flowers",
    )
    assert any(kind.startswith("exact duplicates") for kind in kinds)


def test_parts_that_are_there_twice_count_once(tmp_path: Path) -> None:
    source = write_tree(
        tmp_path / "src",
        x__train__cat=8,
        x__train__dog=8,
        x__x__train__cat=3,
        x__x__train__dog=3,
    )

    assert parts_of(source) == SPLIT
    examples = kinds_of(source)["photo beside the folders of the parts"]
    assert len(examples) == 6


LEFTOVERS: dict[str, tuple[dict[str, int], str, int]] = {
    "photos beside class folders": (
        {"cat": 8, "dog": 8, "photo_": 2},
        "photo beside the class folders",
        2,
    ),
    "class folders beside flat names": (
        {"train__cat_": 8, "train__dog_": 8, "train__cat": 2},
        "photo that is not named as the others are",
        2,
    ),
    "a class of the test part only": (
        {"train__cat": 8, "train__dog": 8, "test__cat": 1, "test__cow": 2},
        "test photo of a class that is not in train",
        2,
    ),
    "validation photos without labels": (
        {"train__cat": 8, "train__dog": 8, "valid": 3},
        "photo without a label",
        3,
    ),
    "folders in a class": (
        {"cat__young": 4, "cat__old": 4, "dog": 8},
        "class folder of folders",
        1,
    ),
    "a folder that holds one class again": (
        {"cat": 8, "dog": 8, "old__cat": 8},
        "class folder of folders",
        1,
    ),
    "folders around folders in a class": (
        {"cat__a__young": 4, "cat__a__old": 4, "dog": 8},
        "class folder of folders",
        1,
    ),
    "masks beside the images of each class": (
        {"cat__images": 8, "cat__masks": 8, "dog__images": 8, "dog__masks": 8},
        "mask or annotation of a photo",
        16,
    ),
    "trimaps below annotations": (
        {"images__cat": 8, "images__dog": 8, "annotations__trimaps": 3},
        "mask or annotation of a photo",
        3,
    ),
    "validation photos in a folder that is no class": (
        {"train__cat": 8, "train__dog": 8, "val__images": 3},
        "photo without a label",
        3,
    ),
}


@pytest.mark.parametrize("name", LEFTOVERS)
def test_what_is_left_out_is_reported_and_refused_by_strict(
    tmp_path: Path, name: str
) -> None:
    folders, kind, count = LEFTOVERS[name]
    source = write_tree(tmp_path / "src", **folders)

    with pytest.raises(StrictError, match=f"{count} {kind}"):
        prepared(source, strict=True)
    assert len(kinds_of(source)[kind]) == count


def test_masks_named_as_their_photos_are_left_out(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    for name in ("cat/1_mask.png", "cat/1_mask_1.png", "dog/2_segmentation.png"):
        (source / name).write_bytes(photo(len(name)))
    (source / "dog" / "blue_mask.png").write_bytes(photo(900))
    (source / "dog" / "cow.png").write_bytes(photo(901))
    (source / "dog" / "segmentation").mkdir()
    (source / "dog" / "segmentation" / "cow.gif").write_bytes(photo(902))

    kinds = kinds_of(source)

    assert len(kinds["mask or annotation of a photo"]) == 4
    assert len(list_photos(source)) == 18


def test_layout_classes_takes_the_outer_folders(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat__a=4, cat__b=4, dog__a=4, dog__b=4)

    assert parts_of(source, source_options=SourceOptions("classes")) == SPLIT


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({"cat": 8}, r"1 class \('cat'\)"),
        ({"train": 8}, "8 photos have no label"),
        ({"train": 8, "test": 3}, "11 photos have no label"),
        ({"val__cat": 8, "test__cat": 8}, "no training part beside"),
        (
            {"a__train__c": 2, "a__train__d": 2, "b__train__c": 2, "b__train__d": 2},
            "'a', 'b' each hold parts",
        ),
        (
            {"train__cat": 8, "train__dog": 8, "valid__cat": 2},
            "'dog' has training photos only",
        ),
        ({"trainA": 8, "trainB": 8, "testA": 8, "testB": 8}, "no labelled photos"),
        ({"train": 8, "train_cropped": 8}, "16 photos have no label"),
        (
            {"images_001__images": 8, "images_002__images": 8},
            "16 photos have no label. Folders that differ in a number only",
        ),
        (
            {"color__cat": 4, "color__dog": 4, "grey__cat": 4, "grey__dog": 4},
            "'color', 'grey' hold the same folders .'cat', 'dog'.*--layout classes",
        ),
        (
            {"cat": 8, "dog": 8, "pets__cat": 4, "pets__dog": 4, "pets__cow": 4},
            "'pets' holds folders with the names of those beside it .'cat', 'dog'. and others",
        ),
        (
            {"Cat": 8, "Dog": 8, "archive__pets__cat": 4, "archive__pets__dog": 4},
            "'archive' holds folders with the names of those beside it .'cat', 'dog'. and others",
        ),
        (
            {"a__images__cat": 4, "a__images__dog": 4, "b__b__cat": 4, "b__b__dog": 4},
            "'a', 'b' hold the same folders",
        ),
    ],
)
def test_what_cannot_be_told_apart_is_refused_by_name(
    tmp_path: Path, folders: dict[str, int], words: str
) -> None:
    source = write_tree(tmp_path / "src", **folders)

    for refuse in (prepared, lambda folder: find_split(folder, 0.25, seed=1)):
        with pytest.raises(DatasetError, match=words):
            refuse(source)
