"""Every network of keras.applications, found by name: "resnet50", "efficientnetb0", ...

Base: the network without its top, with the preprocessing of its own module inside. Top:
global average pooling, dropout and logits, as its authors do for a new task.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import keras

from models.networks.insertion import insert_layers
from models.networks.naming import with_stable_names
from models.networks.network import Network
from models.networks.preprocessing import ApplicationPreprocessing

TOP_DROPOUT: Final = 0.2
IMAGENET_DEVIATIONS: Final = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's red, green and blue, 0..1."""

USUAL_SIZE: Final = 224
USUAL_SMALLEST: Final = 32

SIZES: Final[Mapping[str, int]] = MappingProxyType(
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
"""Height and width of those that are not made for 224: Keras tells them in errors only."""

SMALLEST_SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {"inceptionresnetv2": 75, "inceptionv3": 75, "xception": 71}
)
"""Least height and width of those that need more than 32."""


def application_names() -> tuple[str, ...]:
    """All names, sorted; lower case, without punctuation."""
    return tuple(sorted(_builders()))


def find_application(name: str) -> Network | None:
    """The network of keras.applications called *name*; None: there is none."""
    if name not in _builders():
        return None
    size = SIZES.get(name, USUAL_SIZE)
    return Network(
        name=name,
        source=f"keras.applications.{_builders()[name].__name__}",
        image_size=(size, size),
        build_base=partial(build_application_base, name),
        add_top=add_application_top,
        smallest_image=SMALLEST_SIZES.get(name, USUAL_SMALLEST),
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
    size = SIZES.get(name, USUAL_SIZE)
    # Without a size NASNet is put together otherwise, and its file would not fit.
    model = _builders()[name](
        include_top=False, weights="imagenet", input_shape=(size, size, 3)
    )
    return with_stable_names(model)


def _builders() -> dict[str, Callable[..., Any]]:
    return {
        name.lower(): value
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value)
    }


def _as_published(efficientnet: Any) -> Any:
    # Keras puts this factor in only when it loads ImageNet's weights itself, which were
    # trained with (pixels - mean) / deviation, while its layer divides by the root.
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
