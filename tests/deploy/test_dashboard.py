"""The dashboard: its layout, and queries that Prometheus accepts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import yaml

from tests.deploy.prometheus import (
    ROOT,
    dashboard,
    promtool,
    rules,
    shown_expressions,
)

KINDS = ("alert", "record")


def test_panels_have_numbers_of_their_own_and_places_of_their_own() -> None:
    panels = dashboard()["panels"]
    cells = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24


def test_prometheus_understands_every_question(tmp_path: Path) -> None:
    asked = [
        {
            "record": f"shown:number{number}",
            "expr": expression.replace("$__rate_interval", "5m"),
        }
        for number, expression in enumerate(shown_expressions())
    ]
    file = tmp_path / "shown.yml"
    file.write_text(json.dumps({"groups": [{"name": "shown", "rules": asked}]}))

    assert f"{len(asked)} rules found" in promtool("check", "rules", file)


def test_what_is_recorded_is_shown_or_alerted_on() -> None:
    asked = "\n".join(
        [
            *shown_expressions(),
            *(rule["expr"] for kind in KINDS for rule in rules(kind)),
        ]
    )

    for rule in rules("record"):
        assert rule["record"] in asked


def test_grafana_is_given_its_source_and_its_dashboards() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())
    providers = yaml.safe_load((folder / "dashboards" / "kennel.yml").read_text())

    [source] = sources["datasources"]
    [provider] = providers["providers"]
    uids = {
        panel["datasource"]["uid"]
        for panel in dashboard()["panels"]
        if "datasource" in panel
    }
    assert uids == {source["uid"]}
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
