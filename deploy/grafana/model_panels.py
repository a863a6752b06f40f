"""What the dashboard shows of the model server: as the API sees it, and its own words."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import MODEL, Panel, quantile, rate_by

MODEL_SERVER: Final = (
    Panel(
        "State of each version (30: available)",
        (
            (
                "{{model}} {{version}}",
                f"max by (model, version) (model_state{{{MODEL}}})",
            ),
        ),
    ),
    Panel(
        "Calls, as the API sees them",
        (
            (
                "half below",
                quantile(0.5, "upstream_grpc_duration_seconds", 'method="Predict"'),
            ),
            ("99 % below", "kennel:model_server_seconds:p99_5m"),
        ),
        unit="s",
        warn=1,
    ),
    Panel(
        "Images in a call",
        (
            ("half below", quantile(0.5, "inference_batch_size", MODEL)),
            ("90 % below", quantile(0.9, "inference_batch_size", MODEL)),
        ),
    ),
    Panel(
        "Calls that failed",
        (("{{code}}", rate_by("code", "upstream_grpc_handled_total", 'code!="OK"')),),
        unit="reqps",
    ),
    Panel(
        "TensorFlow Serving: requests",
        (
            (
                "{{model_name}} {{status}}",
                rate_by("model_name, status", ":tensorflow:serving:request_count"),
            ),
        ),
        unit="reqps",
    ),
    Panel(
        "TensorFlow Serving: time in the model",
        (
            (
                "{{model_name}}, 99 % below",
                quantile(0.99, ":tensorflow:serving:runtime_latency", "", "model_name"),
            ),
        ),
        unit="µs",
    ),
)
