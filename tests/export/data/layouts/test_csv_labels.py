"""CSV files of labels, as competitions publish and spreadsheets save them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from export.data.layouts.collect import SourceOptions
from export.data.layouts.csv_labels import LabelFiles, NamedColumns, find_label_files
from export.data.prepare import StrictError
from export.data.sources.archives import Archives
from export.data.sources.files import FileOrigin, Listing, SourceFile
from models.errors import DatasetError, InvalidRequestError
from tests.export.data.small_sources import photo, prepared, write_drivers, write_tree

PHOTOS = tuple(f"train/{number:05}.jpg" for number in range(8))
LABELS = ("cat", "dog") * 4
NAMED = tuple(zip(PHOTOS, LABELS, strict=True))


def look(
    tmp_path: Path,
    content: str | bytes,
    photos: tuple[str, ...] = PHOTOS,
    named: NamedColumns | None = None,
) -> LabelFiles:
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    files = [SourceFile("labels.csv", path.stat().st_size, FileOrigin(path))]
    files += [SourceFile(each, 1, FileOrigin(tmp_path / each)) for each in photos]
    with Archives(tmp_path) as archives:
        listing = Listing(tuple(files), ())
        return find_label_files(listing, archives, None, named or NamedColumns())


def labels_of(found: LabelFiles) -> dict[str, str]:
    assert not found.refused
    return {each.file.path: each.label for each in found.only().labelled}


def refusal(found: LabelFiles) -> str:
    assert not found.usable
    return found.refused["labels.csv"]


def table(header: str, cell: str = "{stem}{comma}{label}", comma: str = ",") -> str:
    rows = (
        cell.format(
            path=path,
            name=path[6:],
            stem=path[6:-4],
            number=int(path[6:-4]),
            windows=path.replace("/", "\\"),
            label=label,
            comma=comma,
            cat=int(label == "cat"),
            dog=int(label == "dog"),
            is_cat=str(label == "cat"),
            is_dog=str(label == "dog"),
        )
        for path, label in NAMED
    )
    return "\n".join([header, *rows, ""])


READABLE: dict[str, str | bytes] = {
    "Dog Breed": table("id,breed"),
    "APTOS": table("id_code,diagnosis"),
    "Cassava": table("image_id,label", "{name},{label}"),
    "HAM10000": table("image_id,dx,age", "{stem},{label},{number}"),
    "other case": table("Image ID,Class Name"),
    "semicolons": table("id;breed", comma=";"),
    "tabs": table("id\tbreed", comma="\t"),
    "UTF-16": table("id\tbreed", comma="\t").encode("utf-16"),
    "sep": "sep=;\r\n" + table("id;breed", comma=";"),
    "spaces": table(" id , breed ", " {stem}\xa0, {label} "),
    "quotes": table('"id", "breed"', '"{name}", "{label}"'),
    "single quotes": table("id,breed", "'{name}','{label}'"),
    "empty columns": table("id,breed,,", "{stem},{label},,") + ",,,\n\n",
    "lost zeros": table("id,breed", "{number},{label}"),
    "capitals": table("file,breed", "{stem}.JPG,{label}"),
    "other ending": table("file,breed", "{stem}.png,{label}"),
    "backslashes": table("file,breed", "{windows},{label}"),
    "other machine": table("file,breed", "/home/bob/My Pets/{name},{label}"),
    "other drive": table("file,breed", "C:\\Users\\bob\\{windows},{label}"),
    "here": table("file,breed", "./{path},{label}"),
    "one column a label": table("image,cat,dog,cow", "{stem},{cat}.0,{dog}.0,0"),
    "unknown names": table("pic,age,sort", "{name},{number},{label}"),
    "counted from 0": table("no,Bild,Tier", "{number},{name},{label}"),
    "rows are numbered": table(",pic,sort", "{number},{name},{label}"),
    "id is the label": table("Image,Id", "{name},{label}"),
    "bars": table("id|breed", comma="|"),
    "short rows": table("id,breed,note,age"),
    "floats": table("id,breed", "{number}.0,{label}"),
    "dummies of pandas": table("id,cat,dog", "{stem},{is_cat},{is_dog}"),
    "dummies of Excel": table("id,cat,dog", "{stem},{is_cat},{is_dog}")
    .replace("True", "TRUE")
    .replace("False", "FALSE"),
}


@pytest.mark.parametrize("case", READABLE)
def test_list_is_read(tmp_path: Path, case: str) -> None:
    assert labels_of(look(tmp_path, READABLE[case])) == dict(NAMED)


def test_names_in_another_unicode_form_are_found(tmp_path: Path) -> None:
    photos = ("cafe\u0301/e\u0301te\u0301.jpg", "cafe\u0301/1.jpg", "the\u0301/1.jpg")
    content = "file,label\n\xe9t\xe9,caf\xe9\ncaf\xe9/1.jpg,caf\xe9\n1.jpg,th\xe9\n"

    found = labels_of(look(tmp_path, content, photos))

    assert found == dict(zip(photos, ("caf\xe9", "caf\xe9", "th\xe9"), strict=True))


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "several labels": (
        table("pic,sort,kind", "{name},{label},{label}"),
        r"several columns .*'sort', 'kind'.*--label-column",
    ),
    "no label": ("id,note\n00001,\n00002,\n", "no label column.*--label-column"),
    "no photo column": (
        table("number,label", "x{number},{label}"),
        "no columns .* names of the photos.*--photo-column",
    ),
    "empty label": ("id,label\n00000,cat\n00001,\n", "line 3 has no label for '00001'"),
    "empty photo": ("id,label\n00000,cat\n,dog\n", "line 3 has no photo"),
    "no header": ("00000.jpg,cat\n00001.jpg,dog\n", "begins with a photo"),
    "two labels": (
        "image,cat,dog\n00000,1,0\n00001,1,1\n00002,0,1\n00003,0,1\n",
        "line 3 has 2 labels for '00001'",
    ),
    "Latin 1": (b"id,label\n00000,cat\n00001,b\xe4r\n", r"line 3 .* UTF-8 \('b\\xe4r"),
    "names of rows": ("id,label\n1,00000,cat\n", "line 2 .* name every column"),
    "no commas": ('"id" "label"\n', "save the file as CSV in UTF-8, with commas"),
    "Excel": (b"PK\x03\x04 and so on", "Excel workbook: save"),
    "other photos": (
        "id,label\n00000x,cat\n00001x,dog\n",
        r"line 2: 00000x \(cat\), the nearest file is train/00000.jpg",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_list_that_cannot_be_used_says_why(tmp_path: Path, case: str) -> None:
    content, words = REFUSED[case]

    with pytest.raises(DatasetError, match=words):
        look(tmp_path, content).only()


def test_columns_can_be_named(tmp_path: Path) -> None:
    content = table("id,Sort of pet,label,photo", "x{number},{label},?,{name}")

    found = look(tmp_path, content, named=NamedColumns("photo", "sort of pet"))

    assert labels_of(found) == dict(NAMED)
    assert not found.only().findings
    missing = look(tmp_path, content, named=NamedColumns(label="breed"))
    assert "no column 'breed'" in refusal(missing)
    assert "id, Sort of pet, label, photo" in refusal(missing)


def test_what_was_guessed_is_a_finding(tmp_path: Path) -> None:
    for case, kind in (
        ("unknown names", "columns of the CSV recognised by their values"),
        ("lost zeros", "photo of the CSV found under another name"),
    ):
        findings = look(tmp_path, READABLE[case]).only().findings
        assert [each.kind for each in findings] == [kind]


@pytest.mark.parametrize("missing", ["NA", "nan", "#N/A", "NULL"])
def test_missing_label_is_a_finding(tmp_path: Path, missing: str) -> None:
    content = table("id,breed").replace("dog", missing)

    (finding,) = look(tmp_path, content).only().findings

    assert finding.kind.startswith("label that R, pandas or Excel write")
    assert finding.examples == (missing,)


def test_photo_may_be_called_as_a_column_is(tmp_path: Path) -> None:
    found = look(tmp_path, "image,label\nimage,cat\nb,dog\n", ("image.png", "b.png"))

    assert labels_of(found) == {"image.png": "cat", "b.png": "dog"}


def test_row_never_takes_the_photo_of_another_row(tmp_path: Path) -> None:
    photos = ("train/1.jpg", "train/002.jpg", "train/2.jpg", "train/7.jpg")
    content = "file,label\ntrain/1.jpg,cat\ntest/1.jpg,dog\n2,cat\n3.jpg,dog\n7,dog\n"

    found = look(tmp_path, content, photos)

    assert labels_of(found) == {
        "train/1.jpg": "cat",
        "train/2.jpg": "cat",
        "train/7.jpg": "dog",
    }
    assert found.only().findings[0].count == 2


def test_training_photos_are_meant_where_test_photos_have_the_same_names(
    tmp_path: Path,
) -> None:
    photos = ("train/1.jpg", "train/2.jpg", "test/1.jpg", "test/2.jpg")

    found = look(tmp_path, "id,label\n1,cat\n2,dog\n", photos)

    assert labels_of(found) == {"train/1.jpg": "cat", "train/2.jpg": "dog"}
    assert len(found.only().test) == 2


def write_photos(folder: Path) -> Path:
    (folder / "train").mkdir(parents=True)
    for number, path in enumerate(PHOTOS):
        (folder / path).write_bytes(photo(number))
    return folder


def test_prepare_says_which_columns_gave_the_labels(tmp_path: Path) -> None:
    source = write_photos(tmp_path / "dogs")
    (source / "labels.csv").write_text(table("id,breed"))

    made = prepared(source, strict=True)

    assert made.manifest.labels == ("cat", "dog")
    assert made.manifest.labelled_by == "labels.csv: photos in 'id', labels in 'breed'"


def test_list_that_was_seen_and_not_taken_is_named(tmp_path: Path) -> None:
    source = write_photos(tmp_path / "dogs")
    (source / "labels.csv").write_text("id,note\n00000,\n")
    with pytest.raises(DatasetError, match=r"labels.csv has no label column"):
        prepared(source)

    for number, path in enumerate(PHOTOS):
        target = source / ("cat", "dog")[number % 2] / Path(path).name
        target.parent.mkdir(exist_ok=True)
        (source / path).rename(target)
    (source / "train").rmdir()
    with pytest.raises(StrictError, match="1 CSV file not taken"):
        prepared(source, strict=True)
    assert prepared(
        source, source_options=SourceOptions("classes"), strict=True
    ).changed


def test_csv_in_an_archive_can_be_named(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "dogs")
    (folder / "a.csv").write_text(table("id,breed"))
    (folder / "b.csv").write_text(table("id,breed", "{stem},all"))
    shutil.make_archive(str(folder), "zip", folder)

    with pytest.raises(DatasetError, match=r"'a.csv', 'b.csv'.*--csv"):
        prepared(tmp_path / "dogs.zip")
    with pytest.raises(InvalidRequestError, match=r"'a.csv', 'b.csv'"):
        prepared(tmp_path / "dogs.zip", source_options=SourceOptions(csv=Path("c.csv")))
    made = prepared(
        tmp_path / "dogs.zip", source_options=SourceOptions(csv=Path("a.csv"))
    )
    assert made.manifest.labels == ("cat", "dog")


def test_column_of_a_csv_needs_a_csv(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"--label-column breed .* --csv"):
        prepared(
            write_photos(tmp_path / "dogs"),
            source_options=SourceOptions("classes", label_column="breed"),
        )


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


def test_list_of_photos_that_are_there_twice_is_refused(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", train__train=8, train_cropped=8)
    rows = [f"{number},{number % 2}" for number in range(8)]
    (source / "labels.csv").write_text("\n".join(["image,level", *rows]))

    with pytest.raises(
        DatasetError, match=r"several times .line 2: 0 is 'train/train/0"
    ):
        prepared(source)


def test_column_of_parts_is_no_column_of_labels(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", photos=12)
    rows = [f"{number},{number % 3}" for number in range(12)]
    (source / "eval.csv").write_text("\n".join(["image_id,partition", *rows]))

    with pytest.raises(DatasetError, match=r"eval\.csv has no label column"):
        prepared(source)
