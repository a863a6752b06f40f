"""Pretrained weights: read from all Keras formats, loaded completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import DatasetError
from models.networks.runtime import start_tensorflow
from tests.models.networks.small_network import build_small_network

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module", autouse=True)
def tensorflow() -> None:
    start_tensorflow()


def write_old_file(path: Path, layers: Mapping[str, list[NDArray[Any]]]) -> Path:
    """As Keras 1 and 2 wrote weights: one group a layer, in the network's order."""
    import h5py

    with h5py.File(path, "w") as stored:
        stored.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = stored.create_group(name)
            kinds = ["W", "b"][: len(arrays)]
            names = [f"{name}_{kind}_1:0" for kind in kinds]
            group.attrs["weight_names"] = [each.encode() for each in names]
            for each, array in zip(names, arrays, strict=True):
                group[each] = array
    return path


def small_vgg16_layers(dense: bool) -> dict[str, list[NDArray[Any]]]:
    """VGG16's layer names with kernels of one filter."""
    from models.networks.vgg16 import convolution_layer_names

    names = convolution_layer_names() + (["fc1", "fc2", "predictions"] if dense else [])
    return {name: [np.ones((1, 1)), np.zeros(1)] for name in names}


def layers_of(model: Any) -> dict[str, list[NDArray[Any]]]:
    return {layer.name: layer.get_weights() for layer in model.layers}


def load(path: Path, network: str = "lenet5", dense: bool = False) -> Any:
    from models.networks.weights import load_weights

    return load_weights(str(path), network, dense)


@pytest.mark.parametrize("kind", ["small.h5", "small.weights.h5", "small.keras"])
def test_weights_of_every_kind_of_file_fit(kind: str, tmp_path: Path) -> None:
    from models.networks.weights import apply_weights

    source, target = build_small_network(1), build_small_network(2)
    path = tmp_path / kind
    if kind.endswith(".weights.h5"):
        source.save_weights(path)
    elif kind.endswith(".keras"):
        source.save(path)
    else:
        write_old_file(path, layers_of(source))
    weights = load(path)
    apply_weights(target, weights)

    for name, arrays in layers_of(source).items():
        for old, new in zip(arrays, target.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(old, new)
    assert weights.provenance() == {
        "source": str(path),
        "sha256": weights.sha256,
        "note": "",
    }
    assert len(weights.sha256) == 64


def test_only_the_needed_layers_are_changed(tmp_path: Path) -> None:
    from models.networks.weights import apply_weights

    source, target = build_small_network(1), build_small_network(2)
    head = target.get_layer("logits").get_weights()[0]
    weights = load(write_old_file(tmp_path / "w.h5", layers_of(source)))

    apply_weights(target, weights, ["pixels", "conv1", "flatten"])

    kernel = target.get_layer("conv1").get_weights()[0]
    assert np.array_equal(kernel, source.get_layer("conv1").get_weights()[0])
    assert np.array_equal(target.get_layer("logits").get_weights()[0], head)


def test_other_names_in_the_same_order_fit(tmp_path: Path) -> None:
    from models.networks.weights import apply_weights

    source, target = build_small_network(1), build_small_network(2)
    renamed = {f"layer_{name}": arrays for name, arrays in layers_of(source).items()}
    apply_weights(target, load(write_old_file(tmp_path / "w.h5", renamed)))

    for old, new in zip(source.get_weights(), target.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_weights_of_another_network_print_both_lists(tmp_path: Path) -> None:
    from models.networks.weights import apply_weights

    path = write_old_file(tmp_path / "vgg.h5", small_vgg16_layers(dense=False))
    target = build_small_network(2)
    before = target.get_weights()

    with pytest.raises(DatasetError) as caught:
        apply_weights(target, load(path))

    message = str(caught.value)
    assert "vgg.h5 does not fit small: use weights of that network" in message
    assert "needed are conv1 3x3x3x4+4, fc1 144x6+6, logits 6x3+3" in message
    assert "found were block1_conv1 1x1+1" in message
    assert "and 7 more" in message
    assert "missing: conv1, fc1, logits" in message
    for old, new in zip(before, target.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_layer_of_another_shape_is_named(tmp_path: Path) -> None:
    from models.networks.weights import apply_weights

    layers = layers_of(build_small_network(1))
    layers["fc1"] = [np.zeros((144, 7)), np.zeros(7)]
    path = write_old_file(tmp_path / "w.h5", layers)

    with pytest.raises(DatasetError, match=r"fc1 has 144x7\+7, needed 144x6\+6"):
        apply_weights(build_small_network(2), load(path))


def test_blocks_of_layers_are_read_layer_by_layer(tmp_path: Path) -> None:
    import h5py

    from models.networks.weights import read_weight_file

    with h5py.File(tmp_path / "w.h5", "w") as stored:
        stored.attrs["layer_names"] = ["block"]
        group = stored.create_group("block")
        group.attrs["weight_names"] = ["inner_norm/gamma:0", "inner_conv/kernel:0"]
        group["inner_norm/gamma:0"] = np.zeros(2)
        group["inner_conv/kernel:0"] = np.zeros((1, 1, 3, 2))

    assert list(read_weight_file(tmp_path / "w.h5").layers) == [
        "inner_norm",
        "inner_conv",
    ]


def test_dense_layers_are_read_only_when_asked_for(tmp_path: Path) -> None:
    path = write_old_file(tmp_path / "vgg.h5", small_vgg16_layers(dense=True))

    assert len(load(path, "vgg16").layers) == 13
    with_dense = load(path, "vgg16", dense=True).layers
    assert list(with_dense)[-3:] == ["fc1", "fc2", "predictions"]


def test_lacking_dense_layers_have_their_own_code(tmp_path: Path) -> None:
    from models.networks.weights import DENSE_WEIGHTS_MISSING, load_weights

    path = write_old_file(tmp_path / "notop.h5", small_vgg16_layers(dense=False))

    for choice in (str(path), "package"):
        with pytest.raises(
            DatasetError, match="fc1 and fc2 are not available"
        ) as caught:
            load_weights(choice, "vgg16", dense=True)
        assert caught.value.code == DENSE_WEIGHTS_MISSING


def test_choices_that_a_network_does_not_have_are_refused() -> None:
    from models.networks.weights import load_weights

    assert load_weights("none", "resnet50") is None
    assert load_weights("auto", "lenet5") is None
    with pytest.raises(DatasetError, match="there are no published weights of lenet5"):
        load_weights("imagenet", "lenet5")
    with pytest.raises(DatasetError, match="package has no weights of resnet50"):
        load_weights("package", "resnet50")


@pytest.mark.parametrize("name", ["gone.h5", "text.h5", "broken.keras"])
def test_what_is_no_weight_file_is_refused(name: str, tmp_path: Path) -> None:
    import zipfile

    if name == "text.h5":
        (tmp_path / name).write_text("no weights")
    if name == "broken.keras":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("config.json", "{}")

    fault = ": no such file" if name == "gone.h5" else " cannot be read as a Keras"
    with pytest.raises(DatasetError, match=name + fault):
        load(tmp_path / name)


def test_published_names_of_layers_are_those_of_the_base() -> None:
    import keras

    from models.networks.heads import layers_with_weights
    from models.networks.registry import find_network, with_stable_names

    base = find_network("mobilenetv3small").build_base((32, 32), "float32")
    bare = keras.applications.MobileNetV3Small(include_top=False, weights=None)

    ours, published = (
        {name: [each.shape for each in layer.weights] for name, layer in found.items()}
        for found in map(layers_with_weights, (base, with_stable_names(bare)))
    )
    assert ours == published
    assert list(ours) == list(published)
