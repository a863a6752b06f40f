"""No orphans: the kernel ends a child whose parent was killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def death_signal() -> Callable[[], None] | None:
    """What a child has to call between fork and exec; None where there is no such thing.

    It counts for the thread that forks: the child ends with that one.
    """
    if sys.platform != "linux":
        return None
    # Loaded before the fork: the child may only make the call.
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arm
