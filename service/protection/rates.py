"""Rates as people write them: 600/minute."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from limits import RateLimitItem, parse

from models.errors import InvalidRequestError

_RATE: Final = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")


def read_rate(text: str) -> RateLimitItem:
    """The rate that *text* names.

    Raises:
        InvalidRequestError: it names none.
    """
    if not _RATE.fullmatch(text):
        message = (
            f"{text!r} is not a rate: use for example 600/minute (or second, hour, day)"
        )
        raise InvalidRequestError(message)
    return parse(text)


def read_rate_variable(env: Mapping[str, str], name: str) -> RateLimitItem | None:
    """The rate in a variable; None: it is unset or empty, so nothing is limited.

    Raises:
        InvalidRequestError: it is no rate; the message names the variable.
    """
    text = env.get(name)
    try:
        return read_rate(text) if text else None
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name}: {error}") from error


def render_rate(rate: RateLimitItem) -> str:
    """*rate* as `read_rate` reads it."""
    return f"{rate.amount}/{rate.GRANULARITY.name}"
