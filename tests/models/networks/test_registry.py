"""Networks have the published layers and parameters; `kennel networks` prints them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from kennel.commands.train import networks
from models.errors import InvalidRequestError
from models.networks.runtime import start_tensorflow
from tests.models.networks.small_network import random_pixels

pytestmark = pytest.mark.tensorflow

VGG16 = {
    "block1_conv1": 1_792,
    "block1_conv2": 36_928,
    "block2_conv1": 73_856,
    "block2_conv2": 147_584,
    "block3_conv1": 295_168,
    "block3_conv2": 590_080,
    "block3_conv3": 590_080,
    "block4_conv1": 1_180_160,
    "block4_conv2": 2_359_808,
    "block4_conv3": 2_359_808,
    "block5_conv1": 2_359_808,
    "block5_conv2": 2_359_808,
    "block5_conv3": 2_359_808,
    "fc1": 102_764_544,
    "fc2": 16_781_312,
    "logits": 4_097_000,
}
LENET5 = {"conv1": 156, "conv2": 2_416, "fc1": 48_120, "fc2": 10_164, "logits": 850}
OURS = ("vgg16", "lenet5", "conv1", "conv3", "mnist-bn")


@pytest.fixture(scope="module", autouse=True)
def tensorflow() -> None:
    start_tensorflow()


def describe(name: str, classes: int, **options: Any) -> Any:
    from models.networks.registry import describe_network, find_network

    return describe_network(find_network(name), classes, **options)


def build(name: str, **options: Any) -> Any:
    from models.networks.registry import build_network, find_network

    return build_network(find_network(name), 3, **options)


@pytest.mark.parametrize(
    ("name", "classes", "counts", "total"),
    [("vgg16", 1000, VGG16, 138_357_544), ("lenet5", 10, LENET5, 61_706)],
)
def test_every_layer_has_the_published_parameters(
    name: str, classes: int, counts: dict[str, int], total: int
) -> None:
    found = describe(name, classes)

    rows = {row.name: row.parameters for row in found.layers if row.parameters}
    assert rows == counts
    assert found.parameters == sum(counts.values()) == total


@pytest.mark.parametrize("name", OURS)
def test_listed_parameters_are_those_of_the_network(name: str) -> None:
    from models.networks.registry import NETWORKS, PARAMETER_COUNTS, USUAL_CLASSES

    assert set(NETWORKS) == set(PARAMETER_COUNTS) == set(USUAL_CLASSES) == set(OURS)
    assert describe(name, USUAL_CLASSES[name]).parameters == PARAMETER_COUNTS[name]


def test_two_classes_on_vgg16_cost_8194_parameters_of_134_million() -> None:
    found = describe("vgg16", 2)

    counts = {row.name: row.parameters for row in found.layers}
    assert counts["logits"] == 8_194
    assert counts["fc1"] + counts["fc2"] + counts["logits"] == 119_554_050
    assert found.parameters == 134_268_738


def test_lenet5_shapes_are_those_of_the_slides() -> None:
    shapes = {row.name: row.shape for row in describe("lenet5", 10).layers}

    assert shapes["pixels"] == (28, 28, 3)
    assert shapes["padding"] == (32, 32, 1)
    assert shapes["conv1"] == (28, 28, 6)
    assert shapes["pool1"] == (14, 14, 6)
    assert shapes["conv2"] == (10, 10, 16)
    assert shapes["pool2"] == (5, 5, 16)


def test_vgg16_has_the_dropout_that_keras_leaves_out() -> None:
    kinds = [(row.name, row.kind) for row in describe("vgg16", 2).layers]

    top = kinds[kinds.index(("flatten", "Flatten")) :]
    assert [name for name, _ in top] == [
        "flatten",
        "fc1",
        "fc1_dropout",
        "fc2",
        "fc2_dropout",
        "logits",
    ]


@pytest.mark.parametrize("name", OURS)
def test_rate_of_dropout_can_be_chosen(name: str) -> None:
    import keras

    if name == "vgg16":
        from models.networks.vgg16 import add_vgg16_top

        maps = keras.Input((1, 1, 2))
        model = keras.Model(maps, add_vgg16_top(maps, 2, 0.25))
    else:
        model = build(name, image_size=(28, 28), dropout=0.25)

    rates = [
        each.rate for each in model.layers if isinstance(each, keras.layers.Dropout)
    ]
    assert rates
    assert set(rates) == {0.25}


@pytest.mark.parametrize("name", OURS)
def test_saved_base_is_the_same_graph(name: str, tmp_path: Path) -> None:
    import keras

    from models.networks.registry import find_network

    network = find_network(name)
    base = network.build_base((32, 32), "float32")
    base.save(tmp_path / "base.keras")
    loaded = keras.models.load_model(tmp_path / "base.keras")

    photos = random_pixels(2, 32)
    assert loaded.to_json() == base.to_json()
    assert np.array_equal(np.asarray(loaded(photos)), np.asarray(base(photos)))


@pytest.mark.parametrize("name", OURS)
def test_smallest_image_is_the_smallest(name: str) -> None:
    from models.networks.registry import find_network

    smallest = find_network(name).smallest_image
    base = find_network(name).build_base((smallest, smallest), "float32")

    assert min(base.output.shape[1:]) >= 1
    with pytest.raises(ValueError, match="negative"):
        find_network(name).build_base((smallest - 1, smallest - 1), "float32")
    with pytest.raises(InvalidRequestError, match=f"at least {smallest} pixels"):
        build(name, image_size=(smallest - 1, 64))


@pytest.mark.parametrize("name", ["lenet5", "conv1", "mnist-bn", "mobilenetv2"])
def test_half_precision_still_answers_in_float32(name: str) -> None:
    import keras

    before = keras.config.dtype_policy().name
    model = build(name, image_size=(32, 32), dtype="mixed_bfloat16")

    logits = np.asarray(model(random_pixels(2, 32)))
    assert logits.dtype == np.float32
    assert logits.shape == (2, 3)
    assert keras.config.dtype_policy().name == before


def test_vgg16_sees_bgr_less_the_means_and_leaves_the_pixels_alone() -> None:
    from models.networks.vgg16 import ApplicationPreprocessing

    photos = random_pixels(2)
    kept = photos.copy()

    seen = np.asarray(ApplicationPreprocessing("vgg16")(photos))

    expected = photos[..., ::-1] - np.array([103.939, 116.779, 123.68])
    assert seen == pytest.approx(expected, abs=1e-4)
    assert np.array_equal(photos, kept)


def test_grey_photos_keep_their_grey() -> None:
    from models.networks.small import ScaledGrey

    grey = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)

    seen = np.asarray(ScaledGrey()(np.repeat(grey, 3, axis=-1)))

    assert seen == pytest.approx(grey / 255, abs=1e-6)


def test_predictions_of_vgg16_are_a_thousand_probabilities() -> None:
    import keras

    from models.networks.vgg16 import add_vgg16_predictions

    maps = keras.Input((1, 1, 4))
    model = keras.Model(maps, add_vgg16_predictions(maps))

    rows = model.predict_on_batch(np.ones((2, 1, 1, 4), np.float32))
    assert model.layers[-1].name == "predictions"
    assert rows.shape == (2, 1000)
    assert rows.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_lenet5_learns_eight_photos_by_heart() -> None:
    import keras

    keras.utils.set_random_seed(3)
    photos = random_pixels(8, 28)
    classes = np.arange(8) % 3
    model = build("lenet5")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])

    model.fit(photos, classes, batch_size=8, epochs=40, verbose=0)

    assert model.evaluate(photos, classes, verbose=0)[1] == 1.0


def test_unknown_network_names_those_that_there_are() -> None:
    from models.networks.registry import find_network

    with pytest.raises(InvalidRequestError, match=r"no network 'vgg17': .*lenet5.*res"):
        find_network("vgg17")


FAMILIES = ("mobilenetv2", "efficientnetb0", "mobilenetv3small", "vgg19")


@cache
def base_of(name: str) -> Any:
    """The base of a network of keras.applications at 32 x 32; building takes seconds."""
    from models.networks.registry import find_network

    return find_network(name).build_base((32, 32), "float32")


def builder_of(name: str) -> Any:
    import keras

    from models.networks.registry import find_network

    return getattr(keras.applications, find_network(name).source.rpartition(".")[2])


def test_every_name_resolves_with_the_sizes_that_keras_has() -> None:
    from models.networks.registry import find_network, network_names

    others = [
        name
        for name in network_names()
        if find_network(name).source.startswith("keras.applications.")
    ]

    assert {"resnet50", "mobilenetv2", "efficientnetb0", "vgg19"} <= set(others)
    for name in others:
        network = find_network(name)
        builder = builder_of(name)
        with pytest.raises(ValueError, match="Input size must be") as small:
            builder(include_top=False, weights=None, input_shape=(1, 1, 3))
        with pytest.raises(ValueError, match=r"should be|at least") as designed:
            builder(include_top=True, weights="imagenet", input_shape=(1, 1, 3))
        smallest = re.search(r"at least (\d+)x", str(small.value))
        # MobileNetV3 takes any size with its weights, which were trained at 224.
        size = re.search(r"should be \((\d+),", str(designed.value))
        assert smallest is not None
        assert network.smallest_image == int(smallest[1]), name
        assert network.image_size == (int(size[1]) if size else 224,) * 2, name


def test_ours_comes_before_the_one_of_keras() -> None:
    from models.networks.registry import NETWORKS, find_network, network_names

    assert find_network("vgg16") is NETWORKS["vgg16"]
    assert network_names().count("vgg16") == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_pixels_are_prepared_inside(name: str) -> None:
    import keras

    from models.networks.heads import copy_weights
    from models.networks.registry import with_stable_names

    base = base_of(name)
    bare = builder_of(name)(include_top=False, weights=None, input_shape=(32, 32, 3))
    copy_weights(base, with_stable_names(bare))
    module = {
        "mobilenetv2": keras.applications.mobilenet_v2,
        "efficientnetb0": keras.applications.efficientnet,
        "mobilenetv3small": keras.applications.mobilenet_v3,
        "vgg19": keras.applications.vgg19,
    }[name]

    photos = random_pixels(2, 32)
    prepared = module.preprocess_input(photos.copy())
    if name == "efficientnetb0":
        # The factor of the published network, which Keras leaves out without weights.
        prepared *= np.array([0.229, 0.224, 0.225], np.float32) ** -0.5
    expected = np.asarray(bare(prepared))
    tolerance = 1e-4 * float(np.abs(expected).max())
    assert np.asarray(base(photos)) == pytest.approx(expected, abs=tolerance)


def test_layer_names_are_the_same_at_every_call() -> None:
    from models.networks.registry import find_network

    bases = [
        base_of("mobilenetv3small"),
        find_network("mobilenetv3small").build_base((32, 32), "float32"),
    ]

    names = [[layer.name for layer in base.layers] for base in bases]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0])
    # Keras names these by a count over all that the process has built.
    assert {"re_lu_1", "activation_1"} <= set(names[0])


def test_saved_network_is_the_same_graph(tmp_path: Path) -> None:
    import keras

    model = base_of("efficientnetb0")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    photos = random_pixels(2, 32)
    assert loaded.to_json() == model.to_json()
    assert np.array_equal(np.asarray(loaded(photos)), np.asarray(model(photos)))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mobilenetv2", 3_538_984),
        ("resnet50", 25_636_712),
        ("convnexttiny", 28_589_128),
    ],
)
def test_parameters_are_the_published_ones(name: str, parameters: int) -> None:
    from models.networks.registry import describe_network, find_network

    assert describe_network(find_network(name), 1000).parameters == parameters


def run(*arguments: str) -> Any:
    return CliRunner().invoke(networks, arguments, catch_exceptions=False)


def test_list_shows_name_input_and_parameters() -> None:
    lines = run().output.splitlines()

    assert any(
        line.split()[:5] == ["lenet5", "28", "x", "28", "61,706"] for line in lines
    )
    assert any(line.startswith("resnet50 ") for line in lines)


def test_list_is_json_for_scripts() -> None:
    rows = {row["name"]: row for row in json.loads(run("--json").output)}

    assert rows["vgg16"]["parameters"] == 138_357_544
    assert rows["vgg16"]["image_size"] == [224, 224]
    assert rows["inceptionv3"]["smallest_image"] == 75
    assert rows["resnet50"]["parameters"] is None


def test_one_network_shows_its_layers() -> None:
    output = run("mobilenetv2", "--classes", "2").output

    assert "224 x 224 RGB pixels, 2 classes" in output
    assert "logits" in output
    assert output.splitlines()[-1] == "2,260,546 parameters"


def test_layers_are_json_for_scripts() -> None:
    found = json.loads(run("lenet5", "--json").output)

    assert found["parameters"] == 61_706
    assert [layer["name"] for layer in found["layers"]][-1] == "logits"


def test_unknown_network_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no network 'resnet5000'"):
        run("resnet5000")
