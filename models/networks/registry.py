"""The networks that ``--network`` names: ours, and every one of keras.applications.

A new network of ours takes a function that builds its base, one that adds its top, and one
line here. Those of keras.applications are found by name ("resnet50", "efficientnetb0", ...).
Base: the network without its top, with the preprocessing of its own module inside. Top:
global average pooling, dropout and logits, as its authors do for a new task.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import keras

from models.errors import InvalidRequestError
from models.networks.heads import assemble, insert_layers
from models.networks.network import Head, Network
from models.networks.small import (
    add_conv1_top,
    add_conv3_top,
    add_lenet5_top,
    add_mnist_top,
    build_conv1_base,
    build_conv3_base,
    build_lenet5_base,
    build_mnist_base,
)
from models.networks.vgg16 import (
    ApplicationPreprocessing,
    add_vgg16_top,
    build_vgg16_base,
)

_VGG: Final = "Simonyan and Zisserman 2014, configuration D"
_LENET: Final = "LeCun, Bottou, Bengio and Haffner 1998"
_STATE_FARM: Final = "fast.ai course 2016, State Farm notebook"
_MNIST: Final = "fast.ai course 2016, MNIST notebook"

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
"""The networks of this project; `find_network` also knows those of keras.applications."""

USUAL_CLASSES: Final[Mapping[str, int]] = MappingProxyType(
    {"vgg16": 1000, "lenet5": 10, "conv1": 10, "conv3": 10, "mnist-bn": 10}
)
"""Classes of each of our networks in its source; keras.applications: 1,000."""

PARAMETER_COUNTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "vgg16": 138_357_544,
        "lenet5": 61_706,
        "conv1": 7_395_598,
        "conv3": 17_443_766,
        "mnist-bn": 602_154,
    }
)
"""Parameters of each of our networks at its image size and `USUAL_CLASSES`."""


def network_names() -> tuple[str, ...]:
    """Every name that `find_network` knows: ours first, then keras.applications'."""
    others = [name for name in application_names() if name not in NETWORKS]
    return (*NETWORKS, *others)


def find_network(name: str) -> Network:
    """The network called *name*; ours before keras.applications'.

    Raises:
        InvalidRequestError: there is no such network; the message lists the names.
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

    *image_size*, *dropout* None: the network's own; *dtype*: a Keras policy.

    Raises:
        InvalidRequestError: the image is smaller than the network can take.
    """
    size = image_size or network.image_size
    return assemble(network, Head(dropout=dropout), classes, size, dtype).model


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
    """The layers of *network* for so many *classes*; no memory is taken for weights.

    Raises:
        InvalidRequestError: the image is smaller than the network can take.
    """
    size = image_size or network.image_size
    layers = _without_values(
        lambda: _describe_layers(build_network(network, classes, size))
    )
    return NetworkDescription(
        name=network.name,
        source=network.source,
        image_size=size,
        classes=classes,
        parameters=sum(layer.parameters for layer in layers),
        layers=layers,
    )


def _describe_layers(model: Any) -> tuple[LayerDescription, ...]:
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
    # Keras keeps variables without a value in a list of the thread, and would initialise
    # them later (553 MB for VGG16). This thread ends, and its list with it.
    def run() -> tuple[LayerDescription, ...]:
        with keras.StatelessScope(initialize_variables=False):
            return describe()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(run).result()


TOP_DROPOUT: Final = 0.2
IMAGENET_DEVIATIONS: Final = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's red, green and blue, 0..1."""

USUAL_SIZE: Final = 224
USUAL_SMALLEST: Final = 32

APPLICATION_SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "efficientnetb1": 240,
        "efficientnetb2": 260,
        "efficientnetb3": 300,
        "efficientnetb4": 380,
        "efficientnetb5": 456,
        "efficientnetb6": 528,
        "efficientnetb7": 600,
        "efficientnetv2b1": 240,
        "efficientnetv2b2": 260,
        "efficientnetv2b3": 300,
        "efficientnetv2s": 384,
        "efficientnetv2m": 480,
        "efficientnetv2l": 480,
        "inceptionresnetv2": 299,
        "inceptionv3": 299,
        "nasnetlarge": 331,
        "xception": 299,
    }
)
"""Height and width of networks designed for another size than 224; in Keras these figures
are in error messages only."""

SMALLEST_APPLICATION_SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {"inceptionresnetv2": 75, "inceptionv3": 75, "xception": 71}
)
"""Least height and width of networks that need more than 32 pixels."""


def application_names() -> tuple[str, ...]:
    """The names of keras.applications' networks, sorted; lower case, no punctuation."""
    return tuple(sorted(_builders()))


def find_application(name: str) -> Network | None:
    """The network of keras.applications called *name*; None: there is none."""
    if name not in _builders():
        return None
    size = APPLICATION_SIZES.get(name, USUAL_SIZE)
    return Network(
        name=name,
        source=f"keras.applications.{_builders()[name].__name__}",
        image_size=(size, size),
        build_base=partial(build_application_base, name),
        add_top=add_application_top,
        smallest_image=SMALLEST_APPLICATION_SIZES.get(name, USUAL_SMALLEST),
    )


def build_application_base(
    name: str, image_size: tuple[int, int], dtype: str = "float32"
) -> Any:
    """RGB pixels 0..255 [N, H, W, 3] -> the last maps of the network called *name*.

    Weights are random. Layer names are the same at every call.
    """
    builder = _builders()[name]
    pixels = keras.Input((*image_size, 3), name="pixels", dtype="float32")
    module = builder.__module__.rpartition(".")[2]
    prepared = ApplicationPreprocessing(module, name="preprocessing")(pixels)
    with _policy(dtype):
        base = builder(
            include_top=False,
            weights=None,
            input_tensor=prepared,
            input_shape=(*image_size, 3),
        )
    model = with_stable_names(keras.Model(pixels, base.output, name=name))
    return _as_published(model) if module == "efficientnet" else model


def add_application_top(maps: Any, classes: int, dropout: float | None = None) -> Any:
    """Maps -> logits [N, K]: averaged over space, dropout (0.2), one Dense."""
    rate = TOP_DROPOUT if dropout is None else dropout
    values = keras.layers.GlobalAveragePooling2D(dtype="float32", name="average")(maps)
    values = keras.layers.Dropout(rate, name="average_dropout")(values)
    return keras.layers.Dense(classes, name="logits")(values)


def download_application(name: str) -> Any:
    """The network called *name* without top, with Keras's ImageNet weights.

    Keras downloads its file once and checks its hash. Layers are named as in
    `build_application_base`.
    """
    size = APPLICATION_SIZES.get(name, USUAL_SIZE)
    # Without a size Keras builds another NASNet, which its weight file does not fit.
    model = _builders()[name](
        include_top=False, weights="imagenet", input_shape=(size, size, 3)
    )
    return with_stable_names(model)


def with_stable_names(model: Any) -> Any:
    """*model*, with its automatically named layers numbered from 1: "conv2d_1".

    Keras numbers them over the life of the process, so names would depend on what was built
    before.
    """
    counts: dict[str, int] = {}
    for layer in model.layers:
        kind = _snake_case(type(layer).__name__)
        if re.fullmatch(rf"{kind}(_\d+)?", layer.name):
            counts[kind] = counts.get(kind, 0) + 1
            layer.name = f"{kind}_{counts[kind]}"
    return model


def _snake_case(name: str) -> str:
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _builders() -> dict[str, Callable[..., Any]]:
    return {
        name.lower(): value
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value)
    }


def _as_published(efficientnet: Any) -> Any:
    # ImageNet's weights were trained with (pixels - mean) / deviation, while Keras's layer
    # divides by the root of that deviation. Keras adds this factor only when it loads these
    # weights itself.
    factors = [deviation**-0.5 for deviation in IMAGENET_DEVIATIONS]
    scaling = keras.layers.Rescaling(factors, name="normalization_scale")
    return insert_layers(efficientnet, {"normalization_1": scaling})


@contextmanager
def _policy(dtype: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
