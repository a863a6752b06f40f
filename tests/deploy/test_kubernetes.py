"""The manifests, with each component: valid, confined, and fitting our processes."""

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

from models.logs import LogSettings
from models.model_address import parse_model_address
from service import gunicorn_conf
from service.settings import MAX_TIMEOUT_SECONDS, ServiceSettings
from tests.deploy.keda_schema import KEDA_SCHEMAS
from tests.deploy.manifests import DEPLOY, Manifest, find, render, workloads
from worker.settings import WorkerSettings

VERSIONS = ("1.27", kubernetes_validate.latest_version())
"""Of Kubernetes: the oldest that will do, and the newest whose schemas are here."""

INSTALLATIONS: dict[str, tuple[str, ...]] = {
    "cpu": ("cpu",),
    "gpu": ("gpu",),
    "ingress": ("cpu", "ingress", "api-keys", "queue-depth"),
    "buckets": ("cpu", "object-storage", "models-from-bucket"),
    "one-node": ("cpu", "one-node"),
    "external-redis": ("gpu", "external-redis"),
}
"""An overlay and the components that are added to it."""

SETTINGS: dict[str, type[ServiceSettings | WorkerSettings]] = {
    "api": ServiceSettings,
    "worker": WorkerSettings,
    "reconciler": WorkerSettings,
}
AUTOSCALED = {"api", "worker"}
OURS = {("kennel-api", "local"), ("kennel-worker", "local")}
"""An overlay names the registry and the tag."""


class AskedFor(dict[str, str]):
    """An environment that remembers which variables were asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


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


def environment(manifests: list[Manifest], name: str) -> dict[str, str]:
    """What the container of a workload sees, expanded as the kubelet does."""
    container = workloads(manifests)[name]["spec"]["containers"][0]
    env: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            name = source["configMapRef"]["name"]
            env |= find(manifests, "ConfigMap", name)["data"]
    for each in container["env"]:
        text = each.get("value", "secret")
        # A variable is known to those that follow it.
        env[each["name"]] = re.sub(r"\$\((\w+)\)", lambda m: env[m[1]], text)
    return env


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
        name, _, tag = container["image"].rpartition(":")

        assert re.match(r"\d+\.\d+", tag) or (name, tag) in OURS, container["image"]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_is_one_that_the_process_reads(
    cpu: list[Manifest], name: str
) -> None:
    env = AskedFor(environment(cpu, name))

    read = SETTINGS[name].from_env(env)
    LogSettings.from_env(env)

    # Those of the other processes come from the same ConfigMap.
    own = {
        each["name"] for each in workloads(cpu)[name]["spec"]["containers"][0]["env"]
    }
    assert own - {"REDIS_PASSWORD"} <= env.names
    assert read.redis_url == "redis://kennel:secret@redis:6379/0"


def test_variables_are_known_before_they_are_used(manifests: list[Manifest]) -> None:
    for name in SETTINGS:
        assert ":secret@" in environment(manifests, name)["REDIS_URL"]


def test_model_server_is_a_name_with_many_addresses(cpu: list[Manifest]) -> None:
    service = find(cpu, "Service", "model-server")
    address = environment(cpu, "api")["MODEL_SERVER"]

    assert service["spec"]["clusterIP"] == "None"
    assert address == f"dns:///model-server:{service['spec']['ports'][0]['port']}"
    assert parse_model_address(address).may_be_several
    assert find(cpu, "Deployment", "model-server")["spec"]["replicas"] > 1


def test_runs_are_shared_by_all_who_work_on_them(manifests: list[Manifest]) -> None:
    for name in SETTINGS:
        pod = workloads(manifests)[name]["spec"]
        runs = environment(manifests, name)["RUNS_DIR"]
        mount = {"name": "runs", "mountPath": runs}

        assert mount in pod["containers"][0]["volumeMounts"]
        assert {"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}} in pod[
            "volumes"
        ]


def test_alive_is_not_ready(cpu: list[Manifest]) -> None:
    api = workloads(cpu)["api"]["spec"]["containers"][0]

    assert api["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for pod in workloads(cpu).values():
        assert "livenessProbe" in pod["spec"]["containers"][0]


def test_nobody_is_killed_before_it_had_time_to_finish(cpu: list[Manifest]) -> None:
    pods = {name: pod["spec"] for name, pod in workloads(cpu).items()}
    grace = {name: pod["terminationGracePeriodSeconds"] for name, pod in pods.items()}
    sleep = {
        name: int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
        for name, pod in pods.items()
        if "lifecycle" in pod["containers"][0]
    }

    assert gunicorn_conf.graceful_timeout > MAX_TIMEOUT_SECONDS
    assert sleep["api"] + gunicorn_conf.graceful_timeout < grace["api"]
    assert sleep["model-server"] < grace["model-server"]
    assert grace["worker"] >= 75


def test_no_flag_of_the_model_server_is_given_twice(
    cpu: list[Manifest], gpu: list[Manifest]
) -> None:
    for manifests, device in ((cpu, "cpu"), (gpu, "gpu")):
        text = (DEPLOY / "model-server" / device / "flags").read_text()
        lines = [line for line in text.splitlines() if line.startswith("--")]
        container = workloads(manifests)["model-server"]["spec"]["containers"][0]
        flags = [each.partition("=")[0] for each in [*lines, *container["args"]]]

        assert len(flags) == len(set(flags))


def test_model_server_is_not_told_to_stop_while_it_is_called(
    cpu: list[Manifest],
) -> None:
    container = workloads(cpu)["model-server"]["spec"]["containers"][0]
    (age,) = re.findall(r"max_connection_age_ms=(\d+)", " ".join(container["args"]))
    sleep = int(container["lifecycle"]["preStop"]["exec"]["command"][1])

    # gRPC adds up to a tenth; the cluster's names are 30 s old at most.
    assert int(age) / 1000 * 1.1 + 30 < sleep


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


def test_password_is_in_a_secret_and_nowhere_else(cpu: list[Manifest]) -> None:
    password = base64.b64encode(b"chosen").decode()

    holders = [each["kind"] for each in cpu if password in str(each)]
    assert holders == ["Secret"]
    assert "chosen" not in str(cpu)


def test_gpu_model_servers_ask_for_a_gpu(gpu: list[Manifest]) -> None:
    pod = workloads(gpu)["model-server"]["spec"]
    container = pod["containers"][0]

    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert find(gpu, "ConfigMap", "model-server-gpu")["metadata"]["name"] in str(pod)
