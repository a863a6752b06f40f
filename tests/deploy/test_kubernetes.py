"""The manifests with each component: valid, unprivileged, and fitting our processes."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.deploy.keda_schema import KEDA_SCHEMAS
from tests.deploy.manifests import DEPLOY, Manifest, find, workloads

VERSIONS = ("1.27", kubernetes_validate.latest_version())
"""Of Kubernetes: the oldest that will do, and the newest whose schemas are here."""

AUTOSCALED = {"api", "worker"}
OURS = {("kennel-api", "local"), ("kennel-worker", "local")}
"""An overlay names the registry and the tag."""


@cache
def check(manifest: str, version: str) -> None:
    """See that *manifest*, as JSON, is valid; most are the same in all installations."""
    parsed = json.loads(manifest)
    if parsed["apiVersion"].startswith("keda.sh/"):
        Draft202012Validator(KEDA_SCHEMAS[parsed["kind"]]).validate(parsed)
    else:
        kubernetes_validate.validate(parsed, version, strict=True)


def containers(manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    for pod in workloads(manifests).values():
        yield from pod["spec"].get("initContainers", [])
        yield from pod["spec"]["containers"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_to_kubernetes_or_keda(
    manifests: list[Manifest], version: str
) -> None:
    for each in manifests:
        check(json.dumps(each), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_tools_are_valid_and_confined(version: str) -> None:
    for file in (DEPLOY / "kubernetes/tools").iterdir():
        pod = yaml.safe_load(file.read_text())
        check(json.dumps(pod), version)
        check_confined(pod["spec"])


def test_every_pod_is_confined(manifests: list[Manifest]) -> None:
    for pod in workloads(manifests).values():
        check_confined(pod["spec"])


def check_confined(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_images_are_pinned_or_ours(manifests: list[Manifest]) -> None:
    for container in containers(manifests):
        name, _, tag = container["image"].partition("@")[0].rpartition(":")

        assert re.match(r"\d+\.\d+", tag) or (name, tag) in OURS, container["image"]


def test_replicas_are_left_to_the_autoscalers(manifests: list[Manifest]) -> None:
    for each in manifests:
        if each["kind"] == "Deployment":
            scaled = each["metadata"]["name"] in AUTOSCALED
            assert ("replicas" in each["spec"]) is not scaled


def test_selectors_find_their_pods(manifests: list[Manifest]) -> None:
    pods = workloads(manifests)
    for each in manifests:
        if each["kind"] in {"Service", "PodDisruptionBudget"}:
            selector = each["spec"]["selector"]
            labels = selector.get("matchLabels", selector)
            assert (
                labels.items()
                <= pods[each["metadata"]["name"]]["metadata"]["labels"].items()
            )


def test_password_is_in_a_secret_and_nowhere_else(cpu: list[Manifest]) -> None:
    password = base64.b64encode(b"chosen").decode()

    holders = [each["kind"] for each in cpu if password in str(each)]
    assert holders == ["Secret"]
    assert "chosen" not in str(cpu)


def test_configuration_is_that_of_the_files_that_compose_mounts(
    cpu: list[Manifest], gpu: list[Manifest]
) -> None:
    for manifests, device in ((cpu, "cpu"), (gpu, "gpu")):
        volumes = workloads(manifests)["model-server"]["spec"]["volumes"]
        (name,) = (v["configMap"]["name"] for v in volumes if "configMap" in v)
        files = find(manifests, "ConfigMap", name)["data"]
        folder = DEPLOY / "model-server" / device

        assert files == {each.name: each.read_text() for each in folder.iterdir()}
    redis = find(cpu, "ConfigMap", "redis")["data"]
    assert redis["redis.conf"] == (DEPLOY / "redis/redis.conf").read_text()


def test_gpu_model_servers_ask_for_a_gpu(gpu: list[Manifest]) -> None:
    pod = workloads(gpu)["model-server"]["spec"]
    container = pod["containers"][0]

    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert find(gpu, "ConfigMap", "model-server-gpu")["metadata"]["name"] in str(pod)


def test_api_knows_that_its_model_servers_have_a_gpu(
    cpu: list[Manifest], gpu: list[Manifest]
) -> None:
    settings = find(gpu, "ConfigMap", "settings")["data"]

    assert settings["MODEL_SERVER_DEVICE"] == "gpu"
    assert settings["MODEL_SERVER"] == "dns:///model-server:8500"
    assert "MODEL_SERVER_DEVICE" not in find(cpu, "ConfigMap", "settings")["data"]
