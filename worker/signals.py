"""How worker and reconciler are told to stop, also as process 1 of a container."""

from __future__ import annotations

import signal


def end_on_signals() -> None:
    """Let SIGTERM do what Ctrl-C does: raise KeyboardInterrupt.

    Process 1 has no default for SIGTERM: without a handler it would ignore the signal.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
