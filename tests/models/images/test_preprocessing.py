"""Versions of preprocessing: what is drafted, how near it is, and what stays as it was."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from export.data.cache import PixelSource
from export.data.splits import Split
from export.recipes.catalogue import find_recipe
from export.training.plans import PLAN_FILE, TrainingPlan, read_plan
from models.contract import ModelCard
from models.errors import ModelContractError
from models.images.codec import Pixels, decode_image, decode_thumbnail
from models.images.preprocessing import NEWEST, Preprocessing
from models.images.sandbox import DecodeSandbox, is_heavy
from service.http.budget import Budget
from service.predict.decoding import Decoder
from tests.fake_model_server import CARD
from tests.models.images.bombs import frame_header
from tests.pictures import encoded, noise
from worker.batches import PhotoLoader
from worker.items import Item
from worker.request import JobRequest
from worker.sources.local import LocalFolder

SIZE = (96, 128)
"""Height and width."""


@cache
def photo(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Edges, gradients and grain, sharp to the pixel; not the same turned."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(columns / 37) * np.cos(rows / 23)
    blocks = (columns * 7 // width + rows * 5 // height) % 3 / 2
    grain = np.random.default_rng(1).normal(0, 0.05, (height, width))
    bright = 0.4 * blocks + 0.2 * waves + 0.3 * rows / height + 0.2 + grain
    levels = (255 * bright[..., None].clip(0, 1) * (1, 0.8, 0.6)).astype(np.uint8)
    return Image.fromarray(levels).convert(mode)


def plain(jpeg: bytes, size: tuple[int, int] = SIZE) -> Pixels:
    """Pillow's steps at the full size of *jpeg*."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))).convert("RGB")
    return np.asarray(upright.resize(size[::-1], Image.Resampling.BILINEAR))


def distance(some: Pixels, other: Pixels) -> tuple[float, int]:
    """The mean and the greatest difference, of 255."""
    differences = np.abs(some.astype(int) - other)
    return float(differences.mean()), int(differences.max())


def lying(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [(601, 515), (1024, 768), (1033, 777)])
def test_drafted_pixels_are_near_those_of_the_whole(
    size: tuple[int, int], turn: int
) -> None:
    jpeg = encoded(photo(size), "JPEG", quality=90, exif=lying(turn))

    mean, most = distance(decode_image(jpeg, SIZE), plain(jpeg))
    assert 0 < mean < 0.6
    assert most <= 12


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("model", [(28, 28), (224, 224), (299, 299)])
def test_jpeg_of_each_kind_is_drafted(
    model: tuple[int, int], progressive: bool, mode: str
) -> None:
    jpeg = encoded(photo((1203, 1205), mode), "JPEG", progressive=progressive)

    mean, most = distance(decode_image(jpeg, model), plain(jpeg, model))
    assert 0 < mean < 0.6
    assert most <= 12


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("size", [(511, 900), (900, 383), (500, 375), (64, 48)])
def test_jpeg_below_four_times_the_size_is_decoded_whole(
    size: tuple[int, int], turn: int
) -> None:
    jpeg = encoded(photo(size), "JPEG", exif=lying(turn))
    model = SIZE if turn == 1 else SIZE[::-1]

    for version in Preprocessing:
        assert (decode_image(jpeg, model, version) == plain(jpeg, model)).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_other_formats_are_decoded_whole(kind: str) -> None:
    image = encoded(photo((1024, 768)), kind)

    assert (decode_image(image, SIZE) == plain(image)).all()


def test_first_version_decodes_jpegs_whole() -> None:
    jpeg = encoded(photo((1033, 777)), "JPEG")

    assert (decode_image(jpeg, SIZE, Preprocessing.WHOLE) == plain(jpeg)).all()


def test_thumbnail_of_a_large_jpeg_is_near_that_of_the_whole() -> None:
    large = photo((2056, 1544))

    drafted = decode_thumbnail(encoded(large, "JPEG", quality=90), 120)
    assert distance(drafted, decode_thumbnail(encoded(large), 120))[0] < 2


@pytest.mark.parametrize("version", Preprocessing)
@pytest.mark.parametrize("size", [(1033, 777), (2600, 1900)], ids=["quick", "apart"])
def test_all_who_decode_see_the_pixels_of_the_models_version(
    size: tuple[int, int], version: Preprocessing, tmp_path: Path
) -> None:
    (tmp_path / "1.jpg").write_bytes(jpeg := encoded(photo(size), "JPEG"))
    card = replace(CARD, image_size=SIZE, preprocessing=version)
    request = JobRequest(
        "pets", 1, card.labels, SIZE, "photos", preprocessing=card.preprocessing
    )
    wanted = decode_image(jpeg, SIZE, version)

    answered = Decoder().decode([jpeg, jpeg], card, Budget(20))
    with DecodeSandbox() as sandbox:
        apart = sandbox.decode(jpeg, SIZE, preprocessing=version)
        folder = LocalFolder(tmp_path, "photos")
        loaded = PhotoLoader(folder, request, sandbox).load(Item("1", "1.jpg"))

    for seen in (*answered, apart, loaded.pixels):
        assert isinstance(seen, np.ndarray)
        assert (seen == wanted).all()


def test_card_names_the_version_and_those_without_are_of_the_first() -> None:
    content = asdict(CARD)
    del content["preprocessing"]
    assert CARD.preprocessing is NEWEST

    assert ModelCard.from_json(CARD.to_json()).preprocessing is NEWEST
    old = ModelCard.from_json(json.dumps(content))
    assert old.preprocessing is Preprocessing.WHOLE
    assert ModelCard.from_json(old.to_json()) == old


def test_card_of_a_version_to_come_is_refused() -> None:
    text = json.dumps({**asdict(CARD), "preprocessing": "exif,white,bicubic,5"})

    with pytest.raises(ModelContractError, match="bicubic,5"):
        ModelCard.from_json(text)


def test_job_names_the_version_and_those_without_are_of_the_first() -> None:
    new = JobRequest("pets", 1, CARD.labels, SIZE, "photos")
    old = replace(new, preprocessing=Preprocessing.WHOLE)

    for request in (new, old):
        written = json.loads(json.dumps(request.to_json()))
        assert JobRequest.from_json(written) == request
    assert "preprocessing" not in old.to_json()


def test_run_goes_on_with_the_version_it_began_with(tmp_path: Path) -> None:
    split = Split(str(tmp_path), ("a", "b"), 0, "stratified", (), ())
    plan = TrainingPlan("pets", split, find_recipe("pooled"), tmp_path, tmp_path, 0)
    plan.write()
    assert read_plan(tmp_path) == plan
    content = json.loads((tmp_path / PLAN_FILE).read_text())
    assert content.pop("preprocessing") == NEWEST

    (tmp_path / PLAN_FILE).write_text(json.dumps(content))

    assert read_plan(tmp_path).preprocessing is Preprocessing.WHOLE


def test_cached_pixels_of_another_version_are_not_used() -> None:
    source = PixelSource("train", [], ["1"], SIZE)
    old = replace(source, preprocessing=Preprocessing.WHOLE)

    assert source.key() != old.key()


def test_jpeg_is_heavy_only_if_much_of_it_is_decoded() -> None:
    jpeg = frame_header(noise(1), 5, struct.pack(">HH", 10_000, 10_000))
    progressive = encoded(Image.new("RGB", (16, 16)), "JPEG", progressive=True)
    slow = frame_header(progressive, 5, struct.pack(">HH", 10_000, 10_000))
    assert is_heavy(jpeg)

    assert not is_heavy(jpeg, (224, 224))
    assert not is_heavy(noise(1) + bytes(9_000_000), (224, 224))
    assert is_heavy(jpeg, (224, 224), Preprocessing.WHOLE)
    assert is_heavy(jpeg, (2400, 2400))
    assert is_heavy(slow, (224, 224))
