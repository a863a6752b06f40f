"""Augmentations by name, and the text in which a command line asks for one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, Final

from export.data.augmentation.options import Augmentation
from models.errors import InvalidRequestError


def _degrees(radians: float) -> float:
    return round(math.degrees(radians), 2)


AUGMENTATIONS: Final[Mapping[str, Augmentation]] = MappingProxyType(
    {
        "none": Augmentation(),
        "demo": Augmentation(10, 0.1, 0.1, _degrees(0.15), 0.1, 10, True),
        "dogscats": Augmentation(15, 0.1, 0.1, 0, 0.1, 0, True),
        "ensemble": Augmentation(10, 0.05, 0.05, _degrees(0.05), 0.05, 10, True),
        "statefarm": Augmentation(15, 0.1, 0.05, _degrees(0.1), 0, 20),
        "statefarm-conv": Augmentation(8, 0.08, 0.04, _degrees(0.03), 0, 10),
        "mnist": Augmentation(8, 0.08, 0.08, _degrees(0.3), 0.08),
        "flips": Augmentation(horizontal_flip=True, vertical_flip=True),
        "photos": Augmentation(
            15, 0.1, 0.1, 5, 0.15, 10, True, brightness=0.15, fill="reflect"
        ),
    }
)
"""From the notebooks of the fast.ai course (2016): lesson 3 ("demo", "dogscats"), the
dogs and cats ensemble, State Farm (whose left and right are classes, so no flips) and
MNIST, with their shears turned from radians into degrees. "flips" is for what has no up
or down, such as cells; "photos" for photos of anything else."""


def find_augmentation(name: str) -> Augmentation:
    """The augmentation called *name*.

    Raises:
        InvalidRequestError: there is none; it names those that there are.
    """
    if name not in AUGMENTATIONS:
        known = ", ".join(AUGMENTATIONS)
        raise InvalidRequestError(f"no augmentation {name!r}: choose one of {known}")
    return AUGMENTATIONS[name]


def parse_augmentation(text: str) -> Augmentation:
    """Read a name, options, or both: ``dogscats,rotation=20,fill=reflect``.

    Raises:
        InvalidRequestError: an unknown name or option, or a value that it cannot have.
    """
    parts = [part.strip() for part in text.split(",")]
    name = parts.pop(0) if "=" not in parts[0] else "none"
    return replace(find_augmentation(name), **dict(_option(part) for part in parts))


def _option(part: str) -> tuple[str, Any]:
    name, equals, text = (each.strip() for each in part.partition("="))
    defaults = {field.name: field.default for field in fields(Augmentation)}
    if not equals or name not in defaults:
        known = ", ".join(defaults)
        message = f"{part!r} is no option: write NAME=VALUE with one of {known}"
        raise InvalidRequestError(message)
    return name, _value(name, text, type(defaults[name]))


def _value(name: str, text: str, kind: type) -> str | float | bool:
    if kind is str:
        return text
    if kind is bool:
        if text not in {"true", "false"}:
            raise InvalidRequestError(f"{name}={text!r}: write true or false")
        return text == "true"
    try:
        return float(text)
    except ValueError as error:
        raise InvalidRequestError(f"{name}={text!r} is not a number") from error
