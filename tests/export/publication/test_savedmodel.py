"""A SavedModel's outputs: probabilities, pixels of encoded images, explanations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from models.contract import BATCH_SIZES, EXPLAIN_SIGNATURE, SERVING_SIGNATURE, ModelCard
from models.images.codec import decode_image
from models.images.preprocessing import NEWEST, Preprocessing
from models.networks.network import Head
from models.networks.runtime import start_tensorflow
from tests.fake_model_server import CARD
from tests.models.images.bombs import segment
from tests.models.images.handmade import png_chunk
from tests.models.images.test_codec import CASES, picture
from tests.models.images.test_structure import (
    JPEG,
    JPEG_XMP,
    exif,
    in_jpeg,
    in_png,
    photo,
    xmp,
)
from tests.pictures import encoded

if TYPE_CHECKING:
    from export.training.classifier import Ensemble


SIZE = (24, 32)
Decode = Callable[[bytes], np.ndarray]

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def decode() -> Decode:
    import tensorflow as tf

    from export.publication.graph_decoding import decode_encoded

    graph = tf.function(
        lambda image: decode_encoded(image, SIZE, NEWEST),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )
    return lambda image: graph(image).numpy().astype(int)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
def test_orientation_is_that_of_exif(
    decode: Decode, turn: int, order: str, kind: int
) -> None:
    block = exif(turn, order, kind)

    for image in (
        in_jpeg(segment(0xE1, b"Exif\0\0" + block)),
        in_jpeg(segment(0xE1, JPEG_XMP + xmp(3)), segment(0xE1, b"Exif\0\0" + block)),
        in_png(png_chunk(b"gAMA", bytes(4)), png_chunk(b"eXIf", block)),
    ):
        assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "RGB"])
def test_png_of_each_kind_is_on_white(decode: Decode, mode: str) -> None:
    values = np.random.default_rng(1).integers(0, 256, (36, 48, 4), np.uint8)
    image = encoded(Image.fromarray(values).convert(mode))

    assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_transparency_is_on_white_at_every_depth(decode: Decode, case: str) -> None:
    depth, colour, pixels, chunks, _ = CASES[case]

    for kept in (chunks, chunks[:1] if colour == 3 else ()):
        image = picture(depth, colour, pixels * 4, *kept)
        assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_of_each_kind(decode: Decode, mode: str, progressive: bool) -> None:
    image = encoded(photo().convert(mode), "JPEG", progressive=progressive)

    assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_large_jpeg_is_decoded_at_the_same_fraction(decode: Decode, turn: int) -> None:
    lying = Image.Exif()
    lying[0x0112] = turn
    large = photo().convert("RGB").resize((301, 267))
    image = encoded(large, "JPEG", quality=95, exif=lying)

    assert np.abs(decode(image) - decode_image(image, SIZE)).max() <= 1


def test_version_of_the_first_preprocessing_decodes_whole() -> None:
    from export.publication.graph_decoding import decode_encoded

    image = encoded(photo().convert("RGB").resize((301, 267)), "JPEG", quality=95)
    first = Preprocessing.WHOLE

    decoded = decode_encoded(image, SIZE, first).numpy().astype(int)
    assert np.abs(decoded - decode_image(image, SIZE, first)).max() <= 1


def test_exif_that_cannot_be_read_is_ignored(decode: Decode) -> None:
    block = exif(6)
    for place in range(0, len(block), 3):
        changed = block[:place] + b"\xff" + block[place + 1 :]
        for broken in (block[:place], changed):
            image = in_jpeg(segment(0xE1, b"Exif\0\0" + broken))
            assert decode(image).shape == (*SIZE, 3)
    for image in (JPEG + bytes(99), in_jpeg(b"\xff\xff\xff\xe1\0\0")):
        assert np.abs(decode(image) - decode_image(JPEG, SIZE)).max() <= 1


POOLED = Head("pooled", taps=("block1_conv2", "block1_pool"), dropout=0.5)
SECOND_ORDER = Head(
    "second-order", taps=("block1_pool",), products="block1_pool", channels=4
)
FLIPS = ("none", "horizontal", "vertical", "both")


def build(
    network: str = "vgg16",
    head: Head = POOLED,
    trains: str = "head",
    members: int = 1,
    views: tuple[str, ...] = ("none",),
    policy: str = "float32",
) -> Ensemble:
    start_tensorflow()
    import keras

    from export.training.classifier import Ensemble
    from models.networks.freezing import cut, trained_layers
    from models.networks.heads import assemble
    from models.networks.registry import find_network

    keras.utils.set_random_seed(3)
    cuts = []
    for _ in range(members):
        made = assemble(find_network(network), head, 2, (32, 32), policy)
        cuts.append(cut(made.model, trained_layers(made, trains)))
        cuts[-1].whole.set_weights(_alike(cuts, trained_layers(made, trains)))
    return Ensemble(tuple(cuts), views)


def _alike(cuts: list[Any], trained: frozenset[str]) -> list[Any]:
    """Members share what no stage trained."""
    first, last = cuts[0].whole, cuts[-1].whole
    return [
        weight
        for ours, theirs in zip(last.layers, first.layers, strict=True)
        for weight in (ours if ours.name in trained else theirs).get_weights()
    ]


def photos(count: int = 3) -> Any:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def graph(ensemble: Ensemble) -> dict[str, Any]:
    """The signatures as they are before they are saved."""
    from export.publication.savedmodel import explaining_signatures, serving_signatures

    return {
        **serving_signatures(ensemble.join(), CARD),
        **explaining_signatures(ensemble, CARD),
    }


def publish(ensemble: Ensemble, folder: Path) -> tuple[ModelCard, dict[str, Any]]:
    """Write, compare with Keras, load."""
    import tensorflow as tf

    from export.publication.savedmodel import check_savedmodel, write_savedmodel

    card = write_savedmodel(ensemble, CARD, folder)
    check_savedmodel(folder, card, photos(), ensemble)
    return card, dict(tf.saved_model.load(str(folder)).signatures)


def explain(signatures: dict[str, Any], classes: list[int]) -> dict[str, Any]:
    import tensorflow as tf

    answers = signatures[EXPLAIN_SIGNATURE](
        images=tf.constant(photos(len(classes))),
        classes=tf.constant(classes, tf.int32),
    )
    return {name: answer.numpy() for name, answer in answers.items()}


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (16, 16)),
        ({"trains": "last"}, (16, 16)),
        ({"trains": "conv:block1_conv2"}, (16, 16)),
        ({"head": SECOND_ORDER}, (16, 16)),
        ({"head": SECOND_ORDER, "views": FLIPS}, (16, 16)),
        ({"members": 2, "views": FLIPS[:2]}, (16, 16)),
        ({"trains": "conv:block1_conv2", "members": 2}, (16, 16)),
        ({"network": "lenet5", "head": Head(), "trains": "all"}, (6, 6)),
        ({"network": "lenet5", "head": Head(), "trains": "last", "members": 2}, (6, 6)),
        ({"network": "mnist-bn", "head": Head(), "trains": "all"}, (5, 5)),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if type(value) is dict else "",
)
def test_explanation_agrees_with_the_prediction(
    options: dict[str, Any], shape: tuple[int, int]
) -> None:
    signatures = graph(build(**options))
    import tensorflow as tf

    predicted = signatures[SERVING_SIGNATURE](images=tf.constant(photos()))
    explained = explain(signatures, [-1, 0, 99])

    probabilities = explained["probabilities"]
    assert probabilities == pytest.approx(predicted["probabilities"].numpy(), abs=1e-5)
    best = probabilities.argmax(axis=1)
    assert explained["classes"].tolist() == [best[0], 0, best[2]]
    heat = explained["heatmaps"]
    assert heat.shape == (3, *shape)
    assert np.isfinite(heat).all()
    assert set(heat.max(axis=(1, 2)).tolist()) <= {0, 1}


@pytest.mark.parametrize("trains", ["head", "conv:block1_conv2"])
def test_saved_heat_is_the_mean_over_members_and_views(
    trains: str, tmp_path: Path
) -> None:
    ensemble = build(members=2, views=("none", "horizontal"), trains=trains)
    from export.report.network import grad_cams
    from models.networks.network import flip

    card, signatures = publish(ensemble, tmp_path / "1")
    heat = explain(signatures, [1, 0])["heatmaps"]

    chosen = np.array([1, 0])
    each = [
        flip(grad_cams(member.whole, flip(photos(2), view), [chosen])[0], view)
        for member in ensemble.members
        for view in ensemble.views
    ]
    mean = np.mean(each, axis=0)
    assert card.explains
    assert heat == pytest.approx(mean / mean.max(axis=(1, 2), keepdims=True), abs=1e-4)
    stored = (tmp_path / "1/variables/variables.data-00000-of-00001").stat().st_size
    assert stored < 1.2 * 4 * ensemble.join().count_params() + 4096


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_shows_the_same_places(policy: str) -> None:
    exact, rough = build(), build(policy=policy)
    rough.members[0].whole.set_weights(exact.members[0].whole.get_weights())

    heat = explain(graph(exact), [0, 1, 1])["heatmaps"]

    assert explain(graph(rough), [0, 1, 1])["heatmaps"] == pytest.approx(heat, abs=0.1)


def test_network_without_maps_says_so_on_its_card(tmp_path: Path) -> None:
    start_tensorflow()
    import keras

    from export.training.classifier import single

    pixels = keras.Input((32, 32, 3))
    values = keras.layers.GlobalAveragePooling2D()(pixels)
    model = keras.Model(pixels, keras.layers.Dense(2)(values))
    card, signatures = publish(single(model), tmp_path / "1")

    assert not card.explains
    assert EXPLAIN_SIGNATURE not in signatures


def test_one_explanation_is_warmed_up(tmp_path: Path) -> None:
    start_tensorflow()
    import tensorflow as tf

    from export.publication.savedmodel import write_warmup

    for explains in (False, True):
        path = tmp_path / str(explains) / "requests"
        write_warmup(path, replace(CARD, explains=explains))
        records = list(tf.data.TFRecordDataset(str(path)))
        assert len(records) == len(BATCH_SIZES) + explains


def test_card_of_an_older_export_explains_nothing() -> None:
    text = CARD.to_json().replace('"explains": false,', "")

    assert "explains" not in text
    assert not ModelCard.from_json(text).explains
