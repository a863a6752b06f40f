"""Several child processes in one terminal: prefixed output, restarts, no orphans.

Children run in sessions of their own, so that Ctrl-C reaches only the supervisor, which
stops them in order; the kernel ends them if the supervisor itself is killed.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from kennel.stack.death_signal import death_signal

POLL_SECONDS = 0.2
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 10.0
"""A child that has run this long is restarted at once when it ends."""


@dataclass(frozen=True)
class Child:
    """A process to keep running: how it starts, and how long it may take to stop.

    Attributes:
        explain: asked for the reason when it has ended with an error.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    stop_seconds: float = 10.0
    explain: Callable[[], str] | None = None


class Supervisor:
    """Keeps children running until `stop`; not thread-safe, one owner."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        """Pass every line of output, prefixed, to *echo*."""
        self._echo = echo
        self._kept: list[_Kept] = []

    def start(self, child: Child) -> None:
        """Start *child* and keep it running.

        Raises:
            OSError: its program cannot be started.
        """
        kept = _Kept(child, self._echo)
        kept.start()
        self._kept.append(kept)

    def tend(self) -> None:
        """Restart what has ended, after its back-off; call it again and again."""
        for kept in self._kept:
            kept.tend()

    def has_ended(self, name: str) -> bool:
        """Whether the child of that name does not run now."""
        ended = {kept.child.name: kept.process.poll() for kept in self._kept}
        return ended[name] is not None

    def pids(self) -> dict[str, int]:
        """The process id of each child by name."""
        return {kept.child.name: kept.process.pid for kept in self._kept}

    def stop(self) -> None:
        """End all children, the last started first; returns when none is left."""
        while self._kept:
            self._kept.pop().stop()


class _Kept:
    def __init__(self, child: Child, echo: Callable[[str], None]) -> None:
        self.child = child
        self._echo = echo
        self._backoff = FIRST_BACKOFF_SECONDS
        self._started = 0.0
        self._restart_at: float | None = None

    def start(self) -> None:
        self._started = time.monotonic()
        self._restart_at = None
        self.process = subprocess.Popen(
            list(self.child.command),
            env=dict(self.child.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=death_signal(),
        )
        if self.process.stdout is not None:
            threading.Thread(
                target=self._copy, args=(self.process.stdout,), daemon=True
            ).start()

    def tend(self) -> None:
        if self._restart_at is None:
            if self.process.poll() is not None:
                self._schedule_restart()
        elif time.monotonic() >= self._restart_at:
            self.start()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(self.child.stop_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _schedule_restart(self) -> None:
        now = time.monotonic()
        if now - self._started >= STEADY_SECONDS:
            self._backoff = FIRST_BACKOFF_SECONDS
        self._say(
            f"ended with code {self.process.returncode}{self._reason()}, "
            f"restarting in {self._backoff:g} s"
        )
        self._restart_at = now + self._backoff
        self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)

    def _reason(self) -> str:
        # A code below zero is a signal: somebody else knows why.
        if self.child.explain is None or self.process.returncode <= 0:
            return ""
        return f" ({self.child.explain()})"

    def _copy(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._say(line.decode(errors="replace").rstrip())

    def _say(self, line: str) -> None:
        if line:
            self._echo(f"{self.child.name:<12} | {line}")
