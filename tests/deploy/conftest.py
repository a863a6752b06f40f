"""Rendered manifests of each supported installation."""

from __future__ import annotations

import pytest

from tests.deploy.manifests import Manifest, render

INSTALLATIONS: dict[str, tuple[str, ...]] = {
    "cpu": ("cpu",),
    "gpu": ("gpu",),
    "ingress": ("cpu", "ingress", "api-keys", "queue-depth"),
    "buckets": ("cpu", "object-storage", "models-from-bucket"),
    "one-node": ("cpu", "one-node"),
    "external-redis": ("gpu", "external-redis"),
}
"""An overlay and the components that are added to it."""


@pytest.fixture(params=INSTALLATIONS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    overlay, *components = INSTALLATIONS[request.param]
    return render(overlay, *components)


@pytest.fixture
def cpu() -> list[Manifest]:
    return render("cpu")


@pytest.fixture
def gpu() -> list[Manifest]:
    return render("gpu")
