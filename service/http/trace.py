"""W3C Trace Context, level 1: the trace and span that a request belongs to.

https://www.w3.org/TR/trace-context-1/. Our own reader: answers, log lines and calls to
the model server carry the trace even where OpenTelemetry (an extra) is not installed.
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
        sampled: a collector records this trace.
        state: other vendors' `tracestate`, passed on unread; "" for none.
    """

    trace_id: str
    span_id: str
    sampled: bool = False
    state: str = ""

    @classmethod
    def read(
        cls, traceparent: str | None, tracestate: str | None = None
    ) -> Self | None:
        """The caller's span; None without a header, or if it breaks the rules."""
        found = _FIELDS.fullmatch(traceparent or "")
        if found is None or found["version"] == "ff":
            return None
        # Version 00 ends here; later versions may append fields, which we ignore.
        if found["version"] == "00" and found["more"]:
            return None
        if not (int(found["trace"], 16) and int(found["span"], 16)):
            return None
        sampled = bool(int(found["flags"], 16) & _SAMPLED)
        state = tracestate if tracestate and _STATE.fullmatch(tracestate) else ""
        return cls(found["trace"], found["span"], sampled, state)

    @classmethod
    def below(cls, parent: Self | None) -> Self:
        """A new span below *parent*, or the first span of a new trace."""
        # `random` is enough: ids are no secrets, a fork reseeds it, and os.urandom costs
        # 10 us a call. Zero is not a valid id.
        span_id = f"{random.getrandbits(64) or 1:016x}"
        if parent is None:
            return cls(f"{random.getrandbits(128) or 1:032x}", span_id)
        return cls(parent.trace_id, span_id, parent.sampled, parent.state)

    @property
    def traceparent(self) -> str:
        """The header that makes this span the parent of the next one."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a call below this span."""
        state = {TRACESTATE: self.state} if self.state else {}
        return {TRACEPARENT: self.traceparent, **state}
