"""The networks that ``--network`` names.

A new one is one function that builds its base, one that adds its top, and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from models.errors import InvalidRequestError
from models.networks.applications import application_names, find_application
from models.networks.head import Head
from models.networks.heads import assemble
from models.networks.lenet5 import add_lenet5_top, build_lenet5_base
from models.networks.network import Network
from models.networks.scratch import (
    add_conv1_top,
    add_conv3_top,
    add_mnist_top,
    build_conv1_base,
    build_conv3_base,
    build_mnist_base,
)
from models.networks.vgg16 import add_vgg16_top, build_vgg16_base

_VGG = "Simonyan and Zisserman 2014, configuration D"
_LENET = "LeCun, Bottou, Bengio and Haffner 1998"
_STATE_FARM = "fast.ai course 2016, State Farm notebook"
_MNIST = "fast.ai course 2016, MNIST notebook"

_OURS: Final = (
    Network("vgg16", _VGG, (224, 224), build_vgg16_base, add_vgg16_top, 32),
    Network("lenet5", _LENET, (28, 28), build_lenet5_base, add_lenet5_top, 12),
    Network("conv1", _STATE_FARM, (224, 224), build_conv1_base, add_conv1_top, 17),
    Network("conv3", _STATE_FARM, (224, 224), build_conv3_base, add_conv3_top, 22),
    Network("mnist-bn", _MNIST, (28, 28), build_mnist_base, add_mnist_top, 16),
)

NETWORKS: Final[Mapping[str, Network]] = MappingProxyType(
    {network.name: network for network in _OURS}
)
"""Those described here; keras.applications adds its own (`find_network`)."""

USUAL_CLASSES: Final[Mapping[str, int]] = MappingProxyType(
    {"vgg16": 1000, "lenet5": 10, "conv1": 10, "conv3": 10, "mnist-bn": 10}
)
"""Classes of each network of ours in its source; keras.applications: 1,000."""

PARAMETERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "vgg16": 138_357_544,
        "lenet5": 61_706,
        "conv1": 7_395_598,
        "conv3": 17_443_766,
        "mnist-bn": 602_154,
    }
)
"""Weights of each network of ours at its image size and `USUAL_CLASSES`."""


def network_names() -> tuple[str, ...]:
    """Every name that `find_network` knows: ours first, then keras.applications'."""
    others = [name for name in application_names() if name not in NETWORKS]
    return (*NETWORKS, *others)


def find_network(name: str) -> Network:
    """The network called *name*; ours before keras.applications'.

    Raises:
        InvalidRequestError: there is none; it names those that there are.
    """
    found = NETWORKS.get(name) or find_application(name)
    if found is None:
        known = ", ".join(network_names())
        raise InvalidRequestError(f"no network {name!r}: choose one of {known}")
    return found


def build_network(
    network: Network,
    classes: int,
    image_size: tuple[int, int] | None = None,
    dropout: float | None = None,
    dtype: str = "float32",
) -> Any:
    """*network* with its own top and random weights: pixels [N, H, W, 3] -> logits [N, K].

    *image_size* None: the designed one; *dropout* None: its own; *dtype*: Keras policy.

    Raises:
        InvalidRequestError: the image is smaller than the network can take.
    """
    size = image_size or network.image_size
    return assemble(network, Head(dropout=dropout), classes, size, dtype).model
