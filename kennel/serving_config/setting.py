"""One value of a configuration and why it is that value."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_WIDTH: Final = 88


@dataclass(frozen=True)
class Setting:
    """A value that TensorFlow Serving is given.

    Attributes:
        line: as the server's file has it.
        why: one or two sentences for whoever reads or changes it.
    """

    name: str
    value: str
    line: str
    why: str


def wrapped_field(name: str, value: int | bool, why: str) -> Setting:
    """A field of a message that is itself a message with one value."""
    text = str(value).lower()
    return Setting(name, text, f"{name} {{ value: {text} }}", why)


def plain_field(name: str, values: Iterable[int | bool], why: str) -> Setting:
    """A field with one or more values."""
    texts = [str(value).lower() for value in values]
    lines = "\n".join(f"{name}: {text}" for text in texts)
    return Setting(name, ",".join(texts), lines, why)


def flag(name: str, value: int | str, why: str) -> Setting:
    """A flag of the command."""
    return Setting(f"--{name}", str(value), f"--{name}={value}", why)


def render(title: str, settings: Iterable[Setting]) -> str:
    """A file that states *settings*, each below the reason for it."""
    blocks = [_comment(title)]
    blocks += [f"{_comment(each.why)}\n{each.line}" for each in settings]
    return "\n\n".join(blocks) + "\n"


def _comment(text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
