"""The story that the demo tells: what it does now, what came of it, how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from export.progress import Progress
from kennel.progress import progress_bars


class Stages:
    """The stages of one run.

    Attributes:
        say: tells one line.
        seconds: how long each stage took that is over, by its name.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """Tell the story through *say*."""
        self.say = say
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[Progress]:
        """Announce *title* and time the block; gives what shows its progress."""
        self.say(f"{title} ...")
        began = time.monotonic()
        with progress_bars(waiting_for=name) as progress:
            yield progress
        self.seconds[name] = time.monotonic() - began
