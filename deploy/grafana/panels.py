"""What the dashboard shows: rows of panels, each with its questions to Prometheus.

`overview.py` lays them out. Names of metrics are those of GET /metrics and of TensorFlow
Serving; a test asks both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_PREDICT: Final = 'route=~".*(/predict|:predict|/infer|/explain)"'
_MODEL: Final = 'model=~"$model"'
_WINDOW: Final = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        queries: legend and expression of each line.
        unit: Grafana's name for it.
        kind: of Grafana's panels.
        width: of the 24 columns of a row.
        warn: the value above which it turns red; None: never.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    warn: float | None = None


def _quantile(quantile: float, metric: str, labels: str, by: str = "") -> str:
    grouped = ", ".join(filter(None, (by, "le")))
    rate = f"sum by ({grouped}) (rate({metric}_bucket{{{labels}}}{_WINDOW}))"
    return f"histogram_quantile({quantile}, {rate})"


def _by(what: str, metric: str, labels: str = "") -> str:
    return f"sum by ({what}) (rate({metric}{{{labels}}}{_WINDOW}))"


GLANCE: Final = (
    Panel("Alerts", (), kind="alertlist", width=12),
    Panel(
        "API",
        (("replicas", 'sum(up{job="kennel-api"})'),),
        kind="stat",
        width=3,
    ),
    Panel(
        "Versions available",
        (("{{model}}", f"max by (model) (model_versions_available{{{_MODEL}}})"),),
        kind="stat",
        width=3,
    ),
    Panel("Workers", (("live", "max(workers_live)"),), kind="stat", width=3),
    Panel(
        "Errors, 1 h",
        (
            (
                "of predictions",
                "sum_over_time(kennel:prediction_errors:rate5m[1h]) / "
                "sum_over_time(kennel:predictions:rate5m[1h])",
            ),
        ),
        unit="percentunit",
        kind="stat",
        width=3,
        warn=0.001,
    ),
)

PREDICTIONS: Final = (
    Panel(
        "Requests, by outcome",
        (
            (
                "{{outcome}}",
                _by("outcome", "inference_requests_total", _MODEL),
            ),
            ("refused unread or read", "kennel:prediction_refusals:rate5m"),
        ),
        unit="reqps",
    ),
    Panel(
        "Time to answer",
        (
            ("half below", "kennel:prediction_seconds:p50_5m"),
            ("99 % below", "kennel:prediction_seconds:p99_5m"),
        ),
        unit="s",
        warn=2.5,
    ),
    Panel(
        "Where it goes, 99 % below",
        (
            ("decode", _quantile(0.99, "preprocess_seconds", _MODEL)),
            ("wait for a batch", _quantile(0.99, "inference_queue_seconds", _MODEL)),
            ("model server", _quantile(0.99, "inference_duration_seconds", _MODEL)),
            ("answer", _quantile(0.99, "postprocess_seconds", _MODEL)),
        ),
        unit="s",
    ),
    Panel(
        "Images answered",
        (
            (
                "{{model}} {{version}}",
                _by("model, version", "inference_images_total", _MODEL),
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Images in work",
        (("{{model}}", f"sum by (model) (inference_queue_depth{{{_MODEL}}})"),),
    ),
    Panel(
        "Refused, by reason",
        (("{{reason}}", _by("reason", "inference_rejected_total", _MODEL)),),
        unit="reqps",
    ),
)

MODEL_SERVER: Final = (
    Panel(
        "State of each version (30: available)",
        (
            (
                "{{model}} {{version}}",
                f"max by (model, version) (model_state{{{_MODEL}}})",
            ),
        ),
    ),
    Panel(
        "Calls, as the API sees them",
        (
            (
                "half below",
                _quantile(0.5, "upstream_grpc_duration_seconds", 'method="Predict"'),
            ),
            ("99 % below", "kennel:model_server_seconds:p99_5m"),
        ),
        unit="s",
        warn=1,
    ),
    Panel(
        "Images in a call",
        (
            ("half below", _quantile(0.5, "inference_batch_size", _MODEL)),
            ("90 % below", _quantile(0.9, "inference_batch_size", _MODEL)),
        ),
    ),
    Panel(
        "Calls that failed",
        (("{{code}}", _by("code", "upstream_grpc_handled_total", 'code!="OK"')),),
        unit="reqps",
    ),
    Panel(
        "TensorFlow Serving: requests",
        (
            (
                "{{model_name}} {{status}}",
                _by("model_name, status", ":tensorflow:serving:request_count"),
            ),
        ),
        unit="reqps",
    ),
    Panel(
        "TensorFlow Serving: time in the model",
        (
            (
                "{{model_name}}, 99 % below",
                _quantile(
                    0.99, ":tensorflow:serving:runtime_latency", "", "model_name"
                ),
            ),
        ),
        unit="µs",
    ),
)
