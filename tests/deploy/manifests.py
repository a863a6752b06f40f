"""Manifests as `kubectl apply -k` would send them, rendered by kubectl itself."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

Manifest: TypeAlias = dict[str, Any]

DEPLOY = Path(__file__).parents[2] / "deploy"
SECRETS = {
    "secrets/redis.env": "password=chosen",
    "components/api-keys/api-keys": "{}",
    "components/object-storage/object-storage.env": "AWS_ACCESS_KEY_ID=name",
    "components/models-from-bucket/models-bucket.env": "RCLONE_CONFIG_MODELS_TYPE=s3",
}
"""Files that whoever installs it makes, below deploy/kubernetes."""


def kubectl() -> str:
    found = shutil.which("kubectl")
    if found is not None:
        return found
    # In CI as well: neither Debian nor PyPI has it.
    pytest.skip("no kubectl: https://kubernetes.io/docs/tasks/tools")


@cache
def render(overlay: str, *components: str) -> list[Manifest]:
    """*overlay* with *components* added, and with secrets."""
    kustomization = {
        "resources": [f"../{overlay}"],
        "components": [f"../../components/{each}" for each in components],
    }
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(DEPLOY, Path(folder) / "deploy") / "kubernetes"
        for name, text in SECRETS.items():
            (copy / name).write_text(text)
        own = copy / "overlays/own"
        own.mkdir()
        (own / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        run = subprocess.run(
            [kubectl(), "kustomize", str(own)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    # A warning is an error, too: deprecated fields, patches that are ignored.
    assert (run.returncode, run.stderr) == (0, "")
    return list(yaml.safe_load_all(run.stdout))


def find(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one of that *kind* and *name*, whose hash may follow."""
    (found,) = (
        each
        for each in manifests
        if each["kind"] == kind
        and (each["metadata"]["name"] + "-").startswith(f"{name}-")
        and each["metadata"]["name"].count("-") <= name.count("-") + 1
    )
    return found


def workloads(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    """The pod templates by the name of their workload."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in manifests
        if each["kind"] in {"Deployment", "StatefulSet"}
    }
