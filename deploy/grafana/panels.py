"""What the dashboard shows: rows of panels, each with its questions to Prometheus.

`overview.py` lays them out. Names of metrics are those of GET /metrics and of TensorFlow
Serving; a test asks both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MODEL: Final = 'model=~"$model"'
"""The models that are chosen on the dashboard."""

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


def quantile(share: float, metric: str, labels: str, by: str = "") -> str:
    """PromQL: below it are *share* of the values of the histogram *metric*."""
    grouped = ", ".join(filter(None, (by, "le")))
    rate = f"sum by ({grouped}) (rate({metric}_bucket{{{labels}}}{_WINDOW}))"
    return f"histogram_quantile({share}, {rate})"


def rate_by(what: str, metric: str, labels: str = "") -> str:
    """PromQL: how often the counter *metric* counts in a second, by *what*."""
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
        (("{{model}}", f"max by (model) (model_versions_available{{{MODEL}}})"),),
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
                rate_by("outcome", "inference_requests_total", MODEL),
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
            ("decode", quantile(0.99, "preprocess_seconds", MODEL)),
            ("wait for a batch", quantile(0.99, "inference_queue_seconds", MODEL)),
            ("model server", quantile(0.99, "inference_duration_seconds", MODEL)),
            ("answer", quantile(0.99, "postprocess_seconds", MODEL)),
        ),
        unit="s",
    ),
    Panel(
        "Images answered",
        (
            (
                "{{model}} {{version}}",
                rate_by("model, version", "inference_images_total", MODEL),
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Images in work",
        (("{{model}}", f"sum by (model) (inference_queue_depth{{{MODEL}}})"),),
    ),
    Panel(
        "Refused, by reason",
        (("{{reason}}", rate_by("reason", "inference_rejected_total", MODEL)),),
        unit="reqps",
    ),
)
