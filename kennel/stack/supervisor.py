"""Supervisor of child processes: prefixed output, restarts, free ports, no orphans.

Children run in sessions of their own, so that Ctrl-C reaches only the supervisor, which
stops them in order; the kernel ends them if the supervisor itself is killed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from models.backoff import Backoff
from models.environment import bare_host
from models.errors import InvalidRequestError

TEND_SECONDS: Final = 0.2
RESTART_BACKOFF: Final = Backoff(first_seconds=0.5, longest_seconds=30.0)
STEADY_SECONDS: Final = 10.0
"""A child that has run this long is restarted at once when it ends."""

_PR_SET_PDEATHSIG = 1
_PORT_ERRORS: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


@dataclass(frozen=True)
class Child:
    """A process to keep running: how it starts, and how long it may take to stop.

    Attributes:
        explain: returns the reason after the child ended with an error.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    stop_seconds: float = 10.0
    explain: Callable[[], str] | None = None


class Supervisor:
    """Keeps children running until `stop`; not thread-safe."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        """Pass every line of the children's output, prefixed, to *echo*."""
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
        """Restart children that ended, after their back-off; call it repeatedly."""
        for kept in self._kept:
            kept.tend()

    def has_ended(self, name: str) -> bool:
        """Whether the child called *name* is not running."""
        ended = {kept.child.name: kept.process.poll() for kept in self._kept}
        return ended[name] is not None

    def pids(self) -> dict[str, int]:
        """The process id of each child by name."""
        return {kept.child.name: kept.process.pid for kept in self._kept}

    def stop(self) -> None:
        """Stop all children, the last started first, and wait for their end."""
        while self._kept:
            self._kept.pop().stop()


class _Kept:
    def __init__(self, child: Child, echo: Callable[[str], None]) -> None:
        self.child = child
        self._echo = echo
        self._failures = 0
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
            self._failures = 0
        pause = RESTART_BACKOFF.pause(self._failures)
        self._say(
            f"ended with code {self.process.returncode}{self._reason()}, "
            f"restarting in {pause:g} s"
        )
        self._restart_at = now + pause
        self._failures += 1

    def _reason(self) -> str:
        # A negative code is a signal: whoever sent it knows the reason.
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


def death_signal() -> Callable[[], None] | None:
    """A `preexec_fn`: the kernel ends the child with its parent; None: not Linux.

    The parent is the thread that forks: the child ends with that thread.
    """
    if sys.platform != "linux":
        return None
    # Loaded before the fork: after it the child must only make the call.
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arm


def choose_port(wanted: int, host: str, option: str) -> int:
    """*wanted* if that port is free; any free port if it is 0.

    Raises:
        InvalidRequestError: the port is taken, and the message names the *option*; or
            *host* is no address of this machine.
    """
    bare = bare_host(host)
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bare, wanted))
        except OSError as error:
            if error.errno not in _PORT_ERRORS:
                message = (
                    f"{host!r} is no address of this machine ({error.strerror}): choose "
                    "another with --host"
                )
                raise InvalidRequestError(message) from error
            message = (
                f"port {wanted} on {host} cannot be used ({error.strerror}): "
                f"choose another with {option}, or {option} 0 for any free one"
            )
            raise InvalidRequestError(message) from error
        return int(probe.getsockname()[1])
