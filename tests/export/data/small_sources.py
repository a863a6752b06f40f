"""Small sources in the layouts of Kaggle and others."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from export.data.prepare import Amount, Prepared, PrepareRequest, prepare
from export.progress import silent
from tests.pictures import noise

SPLIT = {"train": {"cat": 6, "dog": 6}, "valid": {"cat": 2, "dog": 2}}
"""Of eight cats and eight dogs, a quarter for validation."""


def photo(seed: int) -> bytes:
    return noise(seed, (20, 16), "PNG")


def write_flat(folder: Path, cats: int = 20, dogs: int = 20, test: int = 3) -> Path:
    """Kaggle's layout; the test photos are 1.png, 2.png ..."""
    for name in ("train", "test"):
        (folder / name).mkdir(parents=True)
    for label, count, first in (("cat", cats, 0), ("dog", dogs, 1000)):
        for number in range(count):
            path = folder / "train" / f"{label}.{number}.png"
            path.write_bytes(photo(first + number))
    for number in range(1, test + 1):
        (folder / "test" / f"{number}.png").write_bytes(photo(5000 + number))
    return folder


def write_tree(folder: Path, **counts: int) -> Path:
    """So many photos, all different, in each folder; "a__b" is the folder a/b.

    A name that ends in "_" begins the names of photos right in its folder: "cat_" with
    3 gives cat.0.png, cat.1.png, cat.2.png.
    """
    seed = 0
    for name, count in counts.items():
        path = folder / name.replace("__", "/").removesuffix("_")
        for number in range(count):
            file = path / f"{number}.png"
            if name.endswith("_"):
                file = path.with_name(f"{path.name}.{number}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(photo(seed))
            seed += 1
    return folder


def write_drivers(folder: Path, drivers: int = 6, each: int = 5) -> Path:
    """State Farm's layout: two classes, *each* photos of both by every driver."""
    rows = ["subject,classname,img"]
    for number in range(drivers * each * 2):
        label, driver = f"c{number % 2}", f"p{number // 2 % drivers}"
        target = folder / "imgs" / "train" / label / f"img_{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(photo(number))
        rows.append(f"{driver},{label},img_{number}.png")
    (folder / "imgs" / "test").mkdir()
    (folder / "imgs" / "test" / "img_900.png").write_bytes(photo(900))
    (folder / "driver_imgs_list.csv").write_text("\n".join(rows))
    return folder


def write_idx(
    path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    content = header + values.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def request_for(source: Path, **changes: object) -> PrepareRequest:
    """Into a folder beside *source*, a quarter for validation, small samples."""
    request = PrepareRequest(
        source=source,
        dest=source.with_name("out"),
        valid=Amount(share=0.25),
        sample_train=6,
        sample_valid=4,
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def prepared(source: Path, **changes: object) -> Prepared:
    return prepare(request_for(source, **changes), silent)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below *folder*, with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def parts_of(source: Path, **changes: object) -> dict[str, dict[str, int]]:
    """Photos by part and label, samples left out; a flat part's label is ""."""
    made = prepared(source, sample_train=0, sample_valid=0, **changes)
    return made.manifest.counts()


def kinds_of(source: Path) -> dict[str, tuple[str, ...]]:
    made = prepared(source, sample_train=0, sample_valid=0)
    return {finding.kind: finding.examples for finding in made.manifest.findings}
