"""Every layout yields the same kind of listing; what is left out is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.data.layouts.collect import SourceOptions
from export.data.prepare import Amount
from models.errors import DatasetError, InvalidRequestError
from tests.export.data.small_sources import (
    SPLIT,
    kinds_of,
    parts_of,
    photo,
    prepared,
    tree,
    write_drivers,
    write_flat,
    write_tree,
)


def test_flat_photos_become_class_folders_a_sample_and_a_test_folder(
    tmp_path: Path,
) -> None:
    source = write_flat(tmp_path / "redux")
    (source / "sample_submission.csv").write_text("id,label\n1,0.5\n")

    made = prepared(source, valid=Amount(count=10))

    counts = made.manifest.counts()
    assert counts["train"] == {"cat": 15, "dog": 15}
    assert counts["valid"] == {"cat": 5, "dog": 5}
    assert counts["sample/train"] == {"cat": 3, "dog": 3}
    assert counts["sample/valid"] == {"cat": 2, "dog": 2}
    files = tree(made.folder)
    assert {"test/1.png", "test/2.png", "test/3.png"} < set(files)
    train = {Path(name).name for name in files if name.startswith("train/")}
    valid = {Path(name).name for name in files if name.startswith("valid/")}
    assert len(train) == 30
    assert not train & valid
    sample = [Path(name) for name in files if name.startswith("sample/valid/")]
    assert {path.name for path in sample} < valid


def test_drivers_are_never_on_both_sides(tmp_path: Path) -> None:
    source = write_drivers(tmp_path / "drivers")

    made = prepared(source, source_options=SourceOptions(group_by="subject"))

    sides = {
        part: {file.group for file in made.manifest.part(part)}
        for part in ("train", "valid")
    }
    assert not sides["train"] & sides["valid"]
    assert len(sides["train"] | sides["valid"]) == 6
    assert made.manifest.counts()["valid"] in ({"c0": 5, "c1": 5}, {"c0": 10, "c1": 10})
    assert [file.file for file in made.manifest.part("test")] == ["test/img_900.png"]


def test_class_may_be_called_train(tmp_path: Path) -> None:
    for number, label in enumerate(("car", "train")):
        (tmp_path / "things" / label).mkdir(parents=True)
        for index in range(8):
            path = tmp_path / "things" / label / f"{index}.png"
            path.write_bytes(photo(100 * number + index))

    made = prepared(tmp_path / "things")

    assert made.manifest.counts()["train"] == {"car": 6, "train": 6}


def test_group_without_csv_is_misuse(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")

    with pytest.raises(InvalidRequestError, match="--csv"):
        prepared(
            source, source_options=SourceOptions(layout="flat", group_by="subject")
        )


def test_folder_without_labelled_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DatasetError, match="no labelled photos"):
        prepared(tmp_path / "empty")


def test_every_file_is_taken_or_reported(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (source / "cat" / "0.xml").write_text("<box/>")
    (source / "fish").mkdir()
    (source / "fish" / "1.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    (source / "code.rar").write_bytes(b"Rar!")
    (source / "sample_submission.csv").write_text("id,label\n1,0.5\n")

    made = prepared(source)

    kinds = {each.kind: each.examples for each in made.manifest.findings}
    assert kinds == {
        "empty class folder": ("fish",),
        "archive that was not opened": ("code.rar",),
        "file that is no photo": ("cat/0.xml", "fish/1.mp4"),
    }
    assert made.manifest.found == {
        "layout": "classes",
        "files": 20,
        "taken": 16,
        "left_out": 3,
        "parts": {"": "train"},
    }


def test_one_class_says_what_was_left_out(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", images=8)
    (source / "labels.csv.gz").write_bytes(b"\x1f\x8b")
    (source / "x.zip.001").write_bytes(b"PK")

    with pytest.raises(DatasetError, match=r"2 archive that was not .*'labels.csv.gz'"):
        prepared(source)


def test_list_of_some_photos_that_says_what_the_folders_say_does_not_count(
    tmp_path: Path,
) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    rows = [
        f"{label}/{number}.png,{label}"
        for label in SPLIT["train"]
        for number in range(6)
    ]
    (source / "train.csv").write_text("\n".join(["path,label", *rows]))

    assert parts_of(source) == SPLIT


def test_list_counts_where_the_folders_are_no_classes(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", val=8, test=3)
    rows = [f"val/{number}.png,{number % 2}" for number in range(8)]
    (source / "labels.csv").write_text("\n".join(["path,label", *rows]))

    made = prepared(source)

    assert len(made.manifest.part("train")) + len(made.manifest.part("valid")) == 8


def test_list_of_camera_names_counts_more_than_their_beginnings(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cam1_=8, cam2_=8)
    names = sorted(path.name for path in source.iterdir())
    rows = [f"{name},{('cat', 'dog')[row % 2]}" for row, name in enumerate(names)]
    (source / "labels.csv").write_text("\n".join(["img,label", *rows]))

    made = prepared(source, strict=True)

    assert made.manifest.labels == ("cat", "dog")
    assert made.manifest.labelled_by.startswith("labels.csv")


def test_list_of_few_photos_does_not_count_and_is_reported(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (source / "notes.csv").write_text("img,label\ncat/0.png,a\ndog/1.png,b\n")

    assert parts_of(source) == SPLIT
    assert kinds_of(source)["CSV file not taken"] == ("notes.csv labels fewer photos",)


def test_list_keeps_the_parts_that_the_folders_are(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", train=12, valid=4, test=3)
    paths = sorted(path.relative_to(source) for path in source.rglob("*.png"))
    rows = [f"{path},{('cat', 'dog')[row % 2]}" for row, path in enumerate(paths)]
    (source / "labels.csv").write_text("\n".join(["path,label", *rows]))

    made = prepared(source, strict=True)

    sizes = {part: len(made.manifest.part(part)) for part in ("train", "valid", "test")}
    assert sizes == {"train": 12, "valid": 4, "test": 3}
    assert (made.folder / "truth.csv").exists()
