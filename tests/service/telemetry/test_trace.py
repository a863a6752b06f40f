"""The trace context of a request: read by W3C's rules, passed on and returned."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from service.http.record import TraceContext
from tests.pictures import grey
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_parent_is_read() -> None:
    assert TraceContext.read(VALID, "a=1") == TraceContext(TRACE, SPAN, True, "a=1")
    assert TraceContext.read(VALID[:-2] + "00") == TraceContext(TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-brings",
        f"00-{TRACE}-{SPAN}-ff",
    ],
)
def test_later_versions_and_flags_are_read_as_ours(header: str) -> None:
    context = TraceContext.read(header)

    assert context is not None
    assert context.traceparent == VALID


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        VALID.upper(),
        f" {VALID}",
        f"{VALID}\n",
        f"{VALID}-more",
        f"{VALID},{VALID}",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
    ],
)
def test_broken_header_begins_a_new_trace(header: str) -> None:
    assert TraceContext.read(header) is None


@pytest.mark.parametrize("state", ["a=\x7f", "x" * 513, ""])
def test_unusable_state_is_dropped(state: str) -> None:
    assert TraceContext.read(VALID, state) == TraceContext(TRACE, SPAN, True)


def test_span_below_keeps_the_trace() -> None:
    parent = TraceContext(TRACE, SPAN, True, "a=1")

    span = TraceContext.below(parent)

    assert (span.trace_id, span.sampled, span.state) == (TRACE, True, "a=1")
    assert span.span_id != SPAN
    assert TraceContext.read(TraceContext.below(None).traceparent) is not None


def test_answer_and_model_server_get_the_requests_span(
    client: FlaskClient, served: ServedModel
) -> None:
    headers = {"traceparent": VALID, "tracestate": "vendor=1"}

    response = post_image(client, grey(9), headers=headers)

    answered = response.headers["traceparent"]
    assert answered.startswith(f"00-{TRACE}-")
    assert SPAN not in answered
    assert served.metadata[-1]["traceparent"] == answered
    assert served.metadata[-1]["tracestate"] == "vendor=1"


def test_each_request_without_trace_begins_one(
    client: FlaskClient, served: ServedModel
) -> None:
    answers = [post_image(client, grey(9)).headers["traceparent"] for _ in range(2)]

    assert len({answer.split("-")[1] for answer in answers}) == 2
    assert served.metadata[-1]["traceparent"] == answers[-1]
    assert "tracestate" not in served.metadata[-1]
