"""The record of the request in work: views note facts, telemetry reports them at its end.

Each request has one record, in the thread that answers it. Metrics, the log line and spans are
all made from it, so that a view notes each fact once.

A record also holds the request's place in a trace, by W3C Trace Context, level 1
(https://www.w3.org/TR/trace-context-1/). The headers are read here, so that answers, log lines
and calls to the model server carry the trace even where OpenTelemetry (an extra) is not
installed.
"""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self, cast

from flask import g

from models.errors import KennelError, ModelOverloadedError, ModelTimeoutError
from models.probabilities import Probabilities
from service.http.budget import Budget

SUCCESS: Final = "ok"
INVALID: Final = "invalid"
TIMEOUT: Final = "timeout"
REJECTED: Final = "rejected"
UPSTREAM: Final = "upstream"
OUT_OF_MEMORY: Final = "oom"
INTERNAL: Final = "internal"
"""Outcomes of requests for predictions."""

OVERLOADED: Final = "overloaded"
"""The problem code of a request that was refused because too much is in work."""

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

_FIELDS: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED: Final = 1
_STATE: Final = re.compile(r"[\x20-\x7e]{1,512}")


class Answers(NamedTuple):
    """The model's answers: a column of unclipped probabilities for each label."""

    labels: tuple[str, ...]
    probabilities: Probabilities


@dataclass
class RequestRecord:
    """A request from its arrival to its answer; times are those of `perf_counter`.

    Attributes:
        method: the HTTP method; "other" for an unknown one.
        span: the OpenTelemetry span, if traces are exported.
        model: set by views that predict; the request then counts as inference.
        version: version of the model that answered; "" while none has.
        label: "canary" where a rollout chose the canary; "" otherwise.
        images: number of images in the request.
        answered: number of images that the model answered.
        answers: the model's answers, where they are counted by score and label.
        budget: holds the seconds of each part.
        error: the cause of a problem.
        code: the problem's code.
        bytes: size of the answer's body; None if it is streamed.
    """

    method: str
    trace: TraceContext
    span: Any = None
    started: float = field(default_factory=time.perf_counter)
    ended: float = 0.0
    model: str = ""
    version: str = ""
    label: str = ""
    images: int = 0
    answered: int = 0
    answered_at: float | None = None
    answers: Answers | None = None
    budget: Budget | None = None
    error: KennelError | None = None
    code: str = ""
    route: str = ""
    status: int = 500
    bytes: int | None = None

    def note_answer(self, version: int, images: int) -> None:
        """Note that *version* has answered *images*, before the answer is rendered."""
        self.version = str(version)
        self.answered = images
        self.answered_at = time.perf_counter()

    @property
    def seconds(self) -> float:
        """From the request's arrival to its end."""
        return self.ended - self.started

    def spent(self, part: str) -> float | None:
        """Seconds of *part* (decode, queue, infer); None if it was not reached."""
        return None if self.budget is None else self.budget.spent.get(part)

    @property
    def outcome(self) -> str:
        """The label `outcome` of ``inference_requests_total``."""
        if self.status < 400:
            return SUCCESS
        if isinstance(self.error, ModelTimeoutError):
            return TIMEOUT
        if isinstance(self.error, ModelOverloadedError):
            return OUT_OF_MEMORY if _is_out_of_memory(self.error) else REJECTED
        if self.status < 500:
            return REJECTED if self.status == 429 else INVALID
        return INTERNAL if self.status == 500 else UPSTREAM


def current_record() -> RequestRecord:
    """The record of the request in work in this thread."""
    return cast(RequestRecord, g.request_record)


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


def _is_out_of_memory(error: ModelOverloadedError) -> bool:
    # TensorFlow's words for a GPU without room: "OOM when allocating tensor".
    return "OOM when allocating" in str(error)
