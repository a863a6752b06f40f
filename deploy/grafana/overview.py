"""Writes dashboards/kennel.json, which Grafana reads: python -m deploy.grafana.overview

Only the layout is here; the modules of panels say what is shown.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any, Final

from deploy.grafana.job_panels import DRIFT, GROUND, JOBS
from deploy.grafana.model_panels import MODEL_SERVER
from deploy.grafana.panels import GLANCE, PREDICTIONS, Panel

FILE: Final = Path(__file__).parent / "dashboards" / "kennel.json"
ROWS: Final = (
    ("At a glance", GLANCE),
    ("Predictions", PREDICTIONS),
    ("Model server", MODEL_SERVER),
    ("Folder jobs", JOBS),
    ("Drift", DRIFT),
    ("What it runs on", GROUND),
)

_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_COLUMNS: Final = 24
_HEIGHT: Final = 8


def render() -> str:
    """The text of the dashboard's file."""
    return json.dumps(_dashboard(), indent=1, ensure_ascii=False) + "\n"


def _dashboard() -> dict[str, Any]:
    return {
        "uid": "kennel",
        "title": "Kennel",
        "tags": ["kennel"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_model_choice()]},
        "panels": _laid_out(),
    }


def _model_choice() -> dict[str, Any]:
    query = "label_values(model_versions_available, model)"
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "models"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _laid_out() -> list[dict[str, Any]]:
    numbers, panels, top = count(1), [], 0
    for title, row in ROWS:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        panels.append(
            {"id": next(numbers), "type": "row", "title": title, "gridPos": place}
        )
        top, left = top + 1, 0
        for panel in row:
            if left + panel.width > _COLUMNS:
                top, left = top + _HEIGHT, 0
            place = {"x": left, "y": top, "w": panel.width, "h": _HEIGHT}
            panels.append({"id": next(numbers), "gridPos": place, **_panel(panel)})
            left += panel.width
        top += _HEIGHT
    return panels


def _panel(panel: Panel) -> dict[str, Any]:
    shown = {"type": panel.kind, "title": panel.title, "datasource": _SOURCE}
    if panel.kind == "alertlist":
        states = {"firing": True, "pending": True, "error": True}
        return {**shown, "options": {"stateFilter": states, "viewMode": "list"}}
    return {
        **shown,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}}
        if panel.kind == "timeseries"
        else {"reduceOptions": {"calcs": ["lastNotNull"]}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for number, (legend, expression) in enumerate(panel.queries)
        ],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.warn is not None:
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [
                {"color": "green", "value": None},
                {"color": "red", "value": panel.warn},
            ],
        }
        if panel.kind == "timeseries":
            defaults["custom"] = {"thresholdsStyle": {"mode": "dashed"}}
    return defaults


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
