"""IDX files become photos; other sources are read with their archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.data.layouts.collect import SourceOptions
from export.data.sources.reading import read_idx
from models.errors import DatasetError
from tests.export.data.small_sources import prepared, write_idx


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
