"""Spans, as a real collector receives them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.errors import InvalidRequestError
from service.telemetry.hooks import Telemetry
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import TracingSettings, start_spans
from tests.pictures import grey
from tests.service.conftest import post_image

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes OTLP over HTTP; ``spans`` by name."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.resource: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def take(self, path: str, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        assert path == "/v1/traces"
        message = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            self.resource = texts(resource.resource)
            for scope in resource.scope_spans:
                self.spans.update({span.name: span for span in scope.spans})


def texts(holder: Any) -> dict[str, str]:
    return {
        each.key: each.value.string_value or str(each.value.int_value)
        for each in holder.attributes
    }


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def telemetry(collector: Collector) -> Iterator[Telemetry]:
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("no OpenTelemetry: pip install 'kennel[tracing]'")
        pytest.skip("no OpenTelemetry: pip install 'kennel[tracing]'")
    endpoint = f"http://127.0.0.1:{collector.server.server_port}/"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    spans = start_spans(TracingSettings.from_env(env))
    assert spans is not None
    yield Telemetry(Metrics(), spans)
    spans.close()


def test_request_decoding_and_inference_are_spans(
    client: FlaskClient, telemetry: Telemetry, collector: Collector
) -> None:
    header = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    answered = post_image(client, grey(9), headers=header).headers["traceparent"]
    assert telemetry.spans is not None
    telemetry.spans.close()

    request = collector.spans["POST /v1/predict"]
    decode, infer = collector.spans["decode"], collector.spans["infer"]
    assert collector.resource["service.name"] == "kennel-api"
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == SPAN
    assert answered == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert decode.parent_span_id == infer.parent_span_id == request.span_id
    moments = [
        *(request.start_time_unix_nano, decode.start_time_unix_nano),
        *(infer.start_time_unix_nano, infer.end_time_unix_nano),
        request.end_time_unix_nano,
    ]
    assert moments == sorted(moments)
    expected = {"http.route": "/v1/predict", "kennel.model": "pets"}
    assert expected.items() <= texts(request).items()
    assert texts(request)["http.response.status_code"] == "200"


def test_unsampled_trace_is_not_sent(
    client: FlaskClient, telemetry: Telemetry, collector: Collector
) -> None:
    header = {"traceparent": f"00-{TRACE}-{SPAN}-00"}

    answered = client.get("/livez", headers=header).headers["traceparent"]

    assert telemetry.spans is not None
    telemetry.spans.close()
    assert answered.startswith(f"00-{TRACE}-")
    assert answered.endswith("-00")
    assert collector.spans == {}


@pytest.mark.parametrize(
    "env",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}],
    ids=["unset", "empty"],
)
def test_nothing_is_traced_without_an_endpoint(env: dict[str, str]) -> None:
    assert start_spans(TracingSettings.from_env(env)) is None


def test_endpoint_that_is_no_url_stops_the_start() -> None:
    with pytest.raises(InvalidRequestError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        TracingSettings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"})


def test_missing_packages_stop_the_start() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None; import service.main as m;"
        "m.main()"
    )

    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert run.returncode == 2
    assert "pip install 'kennel[tracing]'" in run.stderr


def test_spans_are_not_imported_unless_wanted() -> None:
    # redis imports some of OpenTelemetry by itself, wherever it is installed.
    program = (
        "import sys; from service.app import create; create(); "
        "print({'opentelemetry.exporter', 'opentelemetry.sdk.trace'} & {*sys.modules})"
    )

    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert run.stdout.strip() == "set()"
