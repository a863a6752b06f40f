"""keras.applications by name: found, prepared inside, named the same at every call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.networks.runtime import start_tensorflow
from tests.models.networks.small import random_pixels

pytestmark = pytest.mark.tensorflow

FAMILIES = ("mobilenetv2", "efficientnetb0", "mobilenetv3small", "vgg19")


@pytest.fixture(scope="module", autouse=True)
def tensorflow() -> None:
    start_tensorflow()


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

    from models.networks.layers import copy_weights
    from models.networks.naming import with_stable_names
    from models.networks.registry import find_network

    base = find_network(name).build_base((32, 32), "float32")
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
        find_network("inceptionv3").build_base((75, 75), "float32") for _ in range(2)
    ]

    names = [[layer.name for layer in base.layers] for base in bases]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0])
    assert "conv2d_94" in names[0]


def test_saved_network_is_the_same_graph(tmp_path: Path) -> None:
    import keras

    from models.networks.registry import build_network, find_network

    model = build_network(find_network("efficientnetb0"), 3, (32, 32))
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
        ("densenet121", 8_062_504),
        ("efficientnetb0", 5_330_571),
        ("convnexttiny", 28_589_128),
    ],
)
def test_parameters_are_the_published_ones(name: str, parameters: int) -> None:
    from models.networks.description import describe_network
    from models.networks.registry import find_network

    assert describe_network(find_network(name), 1000).parameters == parameters
