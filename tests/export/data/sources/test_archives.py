"""Archives give what their unpacked folder would give, or an error with a remedy."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from export.data.layouts.collect import SourceOptions
from export.data.splits import find_split
from models.errors import DatasetError, InvalidRequestError
from tests.export.data.small_sources import (
    photo,
    prepared,
    tree,
    write_flat,
    write_tree,
)

UTF8_FLAG = 0x800
Member = tuple[bytes, bytes]


def photos_of(source: Path, **changes: object) -> dict[str, bytes]:
    made = prepared(source, **changes)
    files = tree(made.folder)
    del files["manifest.json"]
    shutil.rmtree(made.folder)
    return files


def raw_zip(members: Iterable[Member]) -> bytes:
    """A zip file whose names are these bytes, without the flag that says UTF-8."""
    stream = io.BytesIO()
    names = []
    with zipfile.ZipFile(stream, "w") as archive:
        for number, (name, content) in enumerate(members):
            names.append((f"{number:0{len(name)}}".encode(), name))
            archive.writestr(names[-1][0].decode(), content)
    packed = stream.getvalue()
    for stand_in, name in names:
        # Once before the file's bytes, once in the directory at the end.
        first, last = packed.index(stand_in), packed.rindex(stand_in)
        for at in (first, last):
            packed = packed[:at] + name + packed[at + len(name) :]
    return packed


def class_members(*labels: bytes, separator: bytes = b"/") -> list[Member]:
    return [
        (separator.join((b"pets", label, b"photo%d.png" % number)), photo(seed))
        for first, label in enumerate(labels)
        for number in range(8)
        for seed in [first * 100 + number]
    ]


def zip_with(folder: Path, *, entries: bool) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if entries or path.is_file():
                archive.write(path, path.relative_to(folder))
    return stream.getvalue()


def tar_of(folder: Path, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, "pets")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("p.tar", "w"), ("p.tar.gz", "w:gz"), ("p.TGZ", "w:gz"), ("p", "w:gz")),
        *(("p.tbz2", "w:bz2"), ("p.tar.xz", "w:xz"), ("p.download", "w")),
    ],
)
def test_tar_files_give_what_the_folder_gives(
    tmp_path: Path, name: str, mode: str
) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (tmp_path / name).write_bytes(tar_of(source, mode))

    assert photos_of(tmp_path / name, strict=True) == photos_of(source)


def test_zip_file_needs_no_suffix(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (tmp_path / "download").write_bytes(zip_with(source, entries=True))

    assert photos_of(tmp_path / "download", strict=True) == photos_of(source)


def packed_nested(folder: Path, *, entries: bool) -> dict[str, bytes]:
    return {"all.zip": zip_with(folder, entries=entries)}


def packed_parts(folder: Path) -> dict[str, bytes]:
    """train.zip and test1.zip, both beside their folder's name or in it (DVC)."""
    packed = {}
    for part in ("train", "test1"):
        inner = zip_with(folder / part, entries=True)
        packed[f"{part}.zip"] = inner
    return packed


KAGGLE: dict[str, Callable[[Path], dict[str, bytes]]] = {
    "with directory entries": lambda folder: packed_nested(folder, entries=True),
    "without": lambda folder: packed_nested(folder, entries=False),
    "a zip file of each part": packed_parts,
    "a zip file of each part in its folder": lambda folder: {
        f"dogs/{name.removesuffix('.zip')}/{name}": content
        for name, content in packed_parts(folder).items()
    },
    "all of these in a tar file": lambda folder: {
        "all.tgz": tar_of(folder, "w:gz"),
    },
}


@pytest.mark.parametrize("how", KAGGLE)
@pytest.mark.parametrize("outer", ["folder", "zip"])
def test_nested_zip_files_of_kaggle_give_one_outcome(
    tmp_path: Path, how: str, outer: str
) -> None:
    source = write_flat(tmp_path / "plain" / "src")
    nested = tmp_path / "nested"
    for name, target in (("train", "train/train"), ("test", "test1/test1")):
        shutil.copytree(source / name, nested / target)
    for name, content in KAGGLE[how](nested).items():
        path = tmp_path / "packed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    packed = tmp_path / "packed"
    if outer == "zip":
        (tmp_path / "outer.zip").write_bytes(zip_with(packed, entries=False))
        packed = tmp_path / "outer.zip"

    assert photos_of(packed, strict=True) == photos_of(source)


def test_names_of_another_encoding_are_refused_until_it_is_named(
    tmp_path: Path,
) -> None:
    labels = ("猫咪", "小狗")
    members = class_members(*(label.encode("gbk") for label in labels))
    (tmp_path / "pets.zip").write_bytes(raw_zip(members))
    form = tarfile.GNU_FORMAT
    with tarfile.open(
        tmp_path / "pets.tar", "w", encoding="gbk", format=form
    ) as archive:
        for raw, content in members:
            info = tarfile.TarInfo(raw.decode("gbk"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

    with pytest.raises(DatasetError, match=r"pets/猫咪.* in gbk"):
        prepared(tmp_path / "pets.zip")
    for name in ("pets.zip", "pets.tar"):
        for encoding in (None, "ascii"):
            with pytest.raises(DatasetError, match="--encoding"):
                prepared(
                    tmp_path / name, source_options=SourceOptions(encoding=encoding)
                )
    with pytest.raises(InvalidRequestError, match="'klingon'"):
        prepared(
            tmp_path / "pets.zip", source_options=SourceOptions(encoding="klingon")
        )
    for name in ("pets.zip", "pets.tar"):
        dest = tmp_path / f"out of {name}"
        made = prepared(
            tmp_path / name, dest=dest, source_options=SourceOptions(encoding="gbk")
        )
        assert made.manifest.labels == tuple(sorted(labels))


def test_utf8_names_need_no_flag(tmp_path: Path) -> None:
    members = class_members("été".encode(), "über".encode())
    (tmp_path / "pets.zip").write_bytes(raw_zip(members))

    made = prepared(tmp_path / "pets.zip")

    assert made.manifest.labels == ("été", "über")


def test_backslashes_separate_as_slashes_do(tmp_path: Path) -> None:
    members = class_members(b"cat", b"dog", separator=b"\\")
    outside = (b"..\\..\\cat\\9.png", photo(9))
    (tmp_path / "pets.zip").write_bytes(raw_zip([*members, outside]))

    made = prepared(tmp_path / "pets.zip")

    assert made.manifest.labels == ("cat", "dog")
    (finding,) = made.manifest.findings
    assert (finding.kind, finding.count) == ("unsafe zip member", 1)


def test_members_of_tar_files_that_lead_outside_are_left_out(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(source, "pets")
        for name, kind, target in (
            ("pets/cat/link.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("pets/cat/device", tarfile.CHRTYPE, ""),
            ("pets/cat/hard.png", tarfile.LNKTYPE, "/etc/passwd"),
            ("../outside.png", tarfile.REGTYPE, ""),
            ("pets/dog/8.png", tarfile.LNKTYPE, "pets/dog/7.png"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)

    made = prepared(tmp_path / "pets.tar")

    kinds = {finding.kind: finding.count for finding in made.manifest.findings}
    assert kinds.pop("unsafe tar member") == 4
    # A hard link to another member is that file, as tar writes prepared folders.
    assert len(made.manifest.part("train")) + len(made.manifest.part("valid")) == 17


def test_train_names_archives_that_it_does_not_open(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "all.zip").write_bytes(zip_with(source, entries=False))

    with pytest.raises(DatasetError, match=r"'all.zip'; unpack, or use kennel prepare"):
        find_split(tmp_path / "packed", 0.25, seed=1)
    with pytest.raises(DatasetError, match=r"all.zip is a file.*kennel prepare"):
        find_split(tmp_path / "packed" / "all.zip", 0.25, seed=1)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + b"\0" * 600, "7z archive: unpack it first"),
        ("a.rar", b"Rar!\x1a\x07\0" + b"\0" * 600, "RAR archive: unpack it first"),
        ("a.zip", b"PK\x03\x04 and so on", "not a whole zip file"),
        ("a.tgz", b"\x1f\x8b\x08\0 and so on", "not a whole zip or tar file"),
        (
            "a.jpg",
            b"\xff\xd8\xff",
            "neither a folder nor a zip or tar file, but a JPEG",
        ),
        ("a.zip", b"<!DOCTYPE html><html>", "a web page: download it again"),
        ("a.tgz", b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        ("a.zip.001", b"PK\x03\x04 and so on", "piece of a split archive"),
        ("a.tar.gz.partaa", b"\x1f\x8b\x08\0 and so on", "piece of a split archive"),
    ],
)
def test_file_that_cannot_be_read_says_what_to_do(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DatasetError, match=words):
        prepared(tmp_path / name)


@pytest.mark.parametrize("unpacked", ["archive.zip", "pets.zip", "pets.tar"])
def test_archive_that_lies_unpacked_beside_itself_counts_once(
    tmp_path: Path, unpacked: str
) -> None:
    source = write_tree(tmp_path / "src", pets__cat=8, pets__dog=8)
    alone = photos_of(source, strict=True)
    content = zip_with(source, entries=True)
    if unpacked.endswith(".tar"):
        content = tar_of(source / "pets", "w")
    (source / unpacked).write_bytes(content)

    assert photos_of(source, strict=True) == alone


def test_files_that_are_twice_in_or_beside_an_archive_are_reported(
    tmp_path: Path,
) -> None:
    source = tmp_path / "src"
    packed = class_members(b"cat", b"dog")
    name, content = packed[0]
    (source / "pets" / "cat").mkdir(parents=True)
    (source / "pets.zip").write_bytes(
        raw_zip([*packed, (name.replace(b"/", b"\\"), content)])
    )
    (source / "pets" / "cat" / "photo1.png").write_bytes(photo(900) + b"longer")

    kinds = {x.kind: x.examples for x in prepared(source).manifest.findings}

    assert kinds == {
        "file of an archive that is not as in the folder": ("pets/cat/photo1.png",),
        "file that is twice in the archive": ("pets/cat/photo0.png",),
    }


def test_last_piece_of_a_split_zip_file_is_refused(tmp_path: Path) -> None:
    packed = bytearray(raw_zip(class_members(b"cat", b"dog")))
    packed[packed.rindex(b"PK\x01\x02") + 34] = 2
    (tmp_path / "pets.zip").write_bytes(packed)

    with pytest.raises(DatasetError, match="piece of a split archive: unpack it"):
        prepared(tmp_path / "pets.zip")


def test_encrypted_zip_file_is_refused(tmp_path: Path) -> None:
    packed = bytearray(raw_zip(class_members(b"cat", b"dog")))
    at = packed.index(b"PK\x01\x02")
    packed[at + 8] |= 1
    (tmp_path / "pets.zip").write_bytes(packed)

    with pytest.raises(DatasetError, match="encrypted: unpack it first"):
        prepared(tmp_path / "pets.zip")


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
