"""W3C Trace Context, level 1: which trace a request belongs to.

https://www.w3.org/TR/trace-context-1/
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Final, Self

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

_FIELDS: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED: Final = 1
_STATE: Final = re.compile(r"[\x20-\x7e]{1,512}")


@dataclass(frozen=True)
class TraceContext:
    """A span and the trace that it is part of; ids are lower case hexadecimal.

    Attributes:
        sampled: somebody records this trace.
        state: what other vendors' tools hand on, as it came; "" for nothing.
    """

    trace_id: str
    span_id: str
    sampled: bool = False
    state: str = ""

    @classmethod
    def read(
        cls, traceparent: str | None, tracestate: str | None = None
    ) -> Self | None:
        """The caller's span; None if there is none or the header breaks the rules."""
        if traceparent is None:
            return None
        found = _FIELDS.fullmatch(traceparent)
        if found is None or found["version"] == "ff":
            return None
        # Version 00 ends here; later ones may say more, which is not for us.
        if found["version"] == "00" and found["more"]:
            return None
        if not (int(found["trace"], 16) and int(found["span"], 16)):
            return None
        sampled = bool(int(found["flags"], 16) & _SAMPLED)
        state = tracestate if tracestate and _STATE.fullmatch(tracestate) else ""
        return cls(found["trace"], found["span"], sampled, state)

    @property
    def traceparent(self) -> str:
        """The header that makes this span the parent of what comes next."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


def span_below(parent: TraceContext | None) -> TraceContext:
    """A new span below *parent*, or the first one of a new trace."""
    # No secrets: a fork seeds anew, and each call of the kernel's source costs 10 us.
    # Zero would mean that there is none.
    span_id = f"{random.getrandbits(64) or 1:016x}"
    if parent is None:
        return TraceContext(f"{random.getrandbits(128) or 1:032x}", span_id)
    return TraceContext(parent.trace_id, span_id, parent.sampled, parent.state)
