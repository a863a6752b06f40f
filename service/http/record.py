"""The record of the request in work: views note facts, telemetry reports them at its end.

Each request has one record, in the thread that answers it. Metrics, the log line and spans are
all made from it, so that a view notes each fact once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

from flask import g

from models.errors import KennelError, ModelOverloadedError, ModelTimeoutError
from models.probabilities import Probabilities
from service.http.budget import Budget
from service.http.trace import TraceContext

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


def _is_out_of_memory(error: ModelOverloadedError) -> bool:
    # TensorFlow's words for a GPU without room: "OOM when allocating tensor".
    return "OOM when allocating" in str(error)
