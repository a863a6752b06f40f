"""Prometheus finds every replica. Grafana needs its own image and is not started here."""

from __future__ import annotations

import json
import urllib.request
from typing import Any, Final

from deploy.trial.deployment import Deployment
from deploy.trial.engine import wait_until_healthy

API_JOB: Final = "kennel-api"


def rehearse(deployment: Deployment) -> list[str]:
    """Start Prometheus and wait until it sees all of the API.

    Raises:
        KennelError: it does not.
    """
    deployment.compose("--profile", "observability", "up", "--detach", "prometheus")
    deployment.wait_for("Prometheus sees two APIs", lambda: _scraped(deployment) >= 2)
    wait_until_healthy(deployment)
    return [f"Prometheus scrapes {_scraped(deployment)} APIs"]


def _scraped(deployment: Deployment) -> int:
    port = deployment.env["PROMETHEUS_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/targets") as answer:
        targets: list[dict[str, Any]] = json.load(answer)["data"]["activeTargets"]
    return sum(
        target["health"] == "up" and target["labels"]["job"] == API_JOB
        for target in targets
    )
