"""Every layout becomes the same kind of folder."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from export.data.layouts.collect import SourceOptions
from export.data.prepare import Amount
from export.data.sources.reading import read_idx
from models.errors import DatasetError, InvalidRequestError
from tests.export.data.small_sources import (
    photo,
    prepared,
    tree,
    write_drivers,
    write_flat,
    write_idx,
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


def test_zip_files_give_the_same_split_as_the_folders(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "unpacked" / "redux")
    (tmp_path / "packed" / "redux").mkdir(parents=True)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for file in sorted((source / "train").iterdir()):
            archive.write(file, f"train/{file.name}")
    with zipfile.ZipFile(tmp_path / "packed" / "redux.zip", "w") as archive:
        archive.writestr("train.zip", inner.getvalue())
        for file in sorted((source / "test").iterdir()):
            archive.write(file, f"test/{file.name}")
    unpacked = prepared(source).folder

    packed = prepared(tmp_path / "packed" / "redux.zip").folder

    first, second = tree(unpacked), tree(packed)
    del first["manifest.json"], second["manifest.json"]
    assert first == second


def test_hostile_zip_members_are_left_out_and_named(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux", test=0)
    with zipfile.ZipFile(source / "train.zip", "w") as archive:
        archive.writestr("../cat.900.png", photo(900))
        archive.writestr("/cat.901.png", photo(901))
        link = zipfile.ZipInfo("train/cat.902.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")

    made = prepared(source)

    finding = made.manifest.findings[0]
    assert (finding.kind, finding.count) == ("unsafe zip member", 3)
    assert len(made.manifest.part("train")) + len(made.manifest.part("valid")) == 40


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


def test_csv_columns_stand_in_any_order_and_missing_photos_are_named(
    tmp_path: Path,
) -> None:
    source = write_drivers(tmp_path / "drivers")
    table = (source / "driver_imgs_list.csv").read_text()
    rows = csv.DictReader(table.splitlines())
    listed = [f"{row['img']},{row['classname']}" for row in rows]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["img,classname", *listed, "gone.png,c0"]))

    made = prepared(source, source_options=SourceOptions(csv=labels))

    assert len(made.manifest.part("train")) == 45
    assert made.manifest.findings[0].examples == ("line 62: gone.png (c0)",)


def test_subject_column_that_is_not_used_is_pointed_out(tmp_path: Path) -> None:
    made = prepared(write_drivers(tmp_path / "drivers"))

    assert [finding.examples for finding in made.manifest.findings] == [("subject",)]


def test_class_may_be_called_train(tmp_path: Path) -> None:
    for number, label in enumerate(("car", "train")):
        (tmp_path / "things" / label).mkdir(parents=True)
        for index in range(8):
            path = tmp_path / "things" / label / f"{index}.png"
            path.write_bytes(photo(100 * number + index))

    made = prepared(tmp_path / "things")

    assert made.manifest.counts()["train"] == {"car": 6, "train": 6}


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("img,kind\nimg_0.png,c0", "no label column"),
        ("img,classname\nnowhere.png,c0", "none of the 1 photos"),
        ("img,classname\nimg_0.png,c0\nimg_0.png,c1", "as 'c0'"),
        ("img,classname\nimg_0.png", "line 2 has no label for"),
        ("img,classname\nimg_0.png,../c0\nimg_1.png,c1", "cannot be a folder"),
        ('img,classname\nimg_0.png,"a\nb"\nimg_1.png,c1', "cannot be a folder"),
        ("img,classname\nimg_0.png,.c0\nimg_1.png,c1", "cannot be a folder"),
    ],
)
def test_csv_that_does_not_fit_is_refused(
    tmp_path: Path, table: str, complaint: str
) -> None:
    source = write_drivers(tmp_path / "drivers")
    (tmp_path / "list.csv").write_text(table)

    with pytest.raises(DatasetError, match=complaint):
        prepared(source, source_options=SourceOptions(csv=tmp_path / "list.csv"))


def test_group_without_csv_is_misuse(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")

    with pytest.raises(InvalidRequestError, match="--csv"):
        prepared(
            source, source_options=SourceOptions(layout="flat", group_by="subject")
        )


def test_idx_files_become_lossless_photos_with_a_truth_for_the_test(
    tmp_path: Path,
) -> None:
    from PIL import Image

    source = tmp_path / "mnist"
    source.mkdir()
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (33, 28, 28)).astype(np.uint8)
    numbers = np.arange(33, dtype=np.uint8) % 3
    write_idx(source / "train-images-idx3-ubyte.gz", pixels[:30])
    write_idx(source / "train-labels-idx1-ubyte.gz", numbers[:30])
    write_idx(source / "t10k-images-idx3-ubyte", pixels[30:])
    write_idx(source / "t10k-labels-idx1-ubyte", numbers[30:])

    made = prepared(
        source, source_options=SourceOptions(labels=("boot", "bag", "coat"))
    )

    files = [*made.manifest.part("train"), *made.manifest.part("valid")]
    for file in files:
        number = int(Path(file.file).stem)
        assert file.label == ("boot", "bag", "coat")[number % 3]
        assert (np.asarray(Image.open(made.folder / file.file)) == pixels[number]).all()
    assert len(files) == 30
    assert (made.folder / "test" / "2.png").exists()
    truth = (made.folder / "truth.csv").read_text()
    assert truth == "img,label\n0.png,boot\n1.png,bag\n2.png,coat\n"


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08", b"\0\0\x0d\1\0\0\0\1a", b"GIF89a"]
)
def test_broken_idx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)

    with pytest.raises(DatasetError, match="IDX"):
        read_idx(tmp_path / "train-images-idx3-ubyte")


def test_folder_without_labelled_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DatasetError, match="no labelled photos"):
        prepared(tmp_path / "empty")
