"""Reads settings from environment variables; an empty variable counts as unset.

A value that cannot be used stops the start, with the variable's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError
from models.image_files import MAX_PIXELS, MAX_SIDE
from models.model_address import parse_model_address

_STORAGE_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@?#]+(/[^\s@?#]*)?")


def read_integer(
    env: Mapping[str, str], name: str, default: int, limits: tuple[int, int]
) -> int:
    """A whole number within *limits*, both included.

    Raises:
        InvalidRequestError: it is not one.
    """
    text = env.get(name) or str(default)
    lowest, highest = limits
    digits = text.isascii() and text.isdigit() and len(text) < 16
    if not digits or not lowest <= int(text) <= highest:
        message = f"{name}={text!r} is not a whole number from {lowest} to {highest}"
        raise InvalidRequestError(message)
    return int(text)


def read_seconds(
    env: Mapping[str, str], name: str, default: float, limits: tuple[float, float]
) -> float:
    """A number of seconds within *limits*, both included.

    Raises:
        InvalidRequestError: it is not one.
    """
    return _read_number(env, name, default, limits, "seconds")


def read_days(
    env: Mapping[str, str], name: str, default: float, limits: tuple[float, float]
) -> float:
    """A number of days within *limits*, both included.

    Raises:
        InvalidRequestError: it is not one.
    """
    return _read_number(env, name, default, limits, "days")


def read_flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    """``true`` or ``false``.

    Raises:
        InvalidRequestError: it is neither.
    """
    text = env.get(name) or str(default).lower()
    if text not in {"true", "false"}:
        raise InvalidRequestError(f"{name}={text!r} is not true or false")
    return text == "true"


def read_max_pixels(env: Mapping[str, str]) -> int:
    """MAX_PIXELS: how many pixels an image may have.

    Raises:
        InvalidRequestError: it is no whole number, or above what `MAX_SIDE` allows.
    """
    return read_integer(env, "MAX_PIXELS", MAX_PIXELS, (1, MAX_SIDE**2))


def read_choice(
    env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]
) -> str:
    """One of *choices*.

    Raises:
        InvalidRequestError: it is none of them.
    """
    text = env.get(name) or default
    if text not in choices:
        raise InvalidRequestError(f"{name}={text!r} is not one of {', '.join(choices)}")
    return text


def read_path(env: Mapping[str, str], name: str, default: Path) -> Path:
    """An absolute path."""
    return Path(env.get(name) or default).absolute()


def read_location(env: Mapping[str, str], name: str) -> Path | str | None:
    """A folder of this machine, or one in object storage as a URL; None if unset.

    Raises:
        InvalidRequestError: a URL that names no folder, or holds a password: the value
            stays out of the message.
    """
    text = env.get(name)
    if not text:
        return None
    text = text.removeprefix("file://")
    if "://" not in text:
        return Path(text).absolute()
    if not _STORAGE_URL.fullmatch(text):
        message = (
            f"{name} is no URL of a folder: use for example s3://bucket/photos, and "
            "give credentials in the driver's own variables"
        )
        raise InvalidRequestError(message)
    return text


def read_input_root(env: Mapping[str, str], default: Path) -> tuple[Path, str | None]:
    """INPUT_ROOT as a folder, and as the URL that stands in its place if it is one.

    Raises:
        InvalidRequestError: as `read_location`.
    """
    location = read_location(env, "INPUT_ROOT")
    if isinstance(location, str):
        return default, location
    return location or default, None


def read_address(env: Mapping[str, str], name: str, default: str) -> str:
    """Where the model servers are, as `models.model_address` describes it.

    Raises:
        InvalidRequestError: it does not say where.
    """
    text = env.get(name) or default
    try:
        parse_model_address(text)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name}={error}") from error
    return text


def _read_number(
    env: Mapping[str, str],
    name: str,
    default: float,
    limits: tuple[float, float],
    unit: str,
) -> float:
    text = env.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    lowest, highest = limits
    if not lowest <= number <= highest:
        message = (
            f"{name}={text!r} is not a number of {unit} from {lowest:g} to {highest:g}"
        )
        raise InvalidRequestError(message)
    return number
