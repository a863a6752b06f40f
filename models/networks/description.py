"""A network's layers, shapes and parameters, told without giving a weight a value."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras

from models.networks.network import Network
from models.networks.registry import build_network


@dataclass(frozen=True)
class LayerDescription:
    """One layer: its name, Keras class, output shape without batch, and parameters."""

    name: str
    kind: str
    shape: tuple[int | None, ...]
    parameters: int


@dataclass(frozen=True)
class NetworkDescription:
    """A network with its own top at one image size (height, width)."""

    name: str
    source: str
    image_size: tuple[int, int]
    classes: int
    parameters: int
    layers: tuple[LayerDescription, ...]


def describe_network(
    network: Network, classes: int, image_size: tuple[int, int] | None = None
) -> NetworkDescription:
    """What *network* looks like for so many *classes*; weights take no memory.

    Raises:
        InvalidRequestError: the image is smaller than the network can take.
    """
    size = image_size or network.image_size
    layers = _without_values(
        lambda: describe_layers(build_network(network, classes, size))
    )
    return NetworkDescription(
        name=network.name,
        source=network.source,
        image_size=size,
        classes=classes,
        parameters=sum(layer.parameters for layer in layers),
        layers=layers,
    )


def describe_layers(model: Any) -> tuple[LayerDescription, ...]:
    """The layers of a functional *model*, in order."""
    return tuple(
        LayerDescription(
            layer.name,
            type(layer).__name__,
            tuple(layer.output.shape[1:]),
            layer.count_params(),
        )
        for layer in model.layers
    )


def _without_values(
    describe: Callable[[], tuple[LayerDescription, ...]],
) -> tuple[LayerDescription, ...]:
    # Keras keeps the variables that wait for a value in a list of the thread, and would
    # fill them later (553 MB for VGG16): with this thread the list goes too.
    def run() -> tuple[LayerDescription, ...]:
        with keras.StatelessScope(initialize_variables=False):
            return describe()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(run).result()
