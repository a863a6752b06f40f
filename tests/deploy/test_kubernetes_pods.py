"""Each pod: its process's variables, its probes, its grace period."""

from __future__ import annotations

import re

import pytest

from kennel.doctor.deployment import RecordedVariables
from models.environment import parse_model_address
from models.logs import LogSettings
from service.http.budget import MAX_TIMEOUT_SECONDS
from service.server import gunicorn_conf
from service.settings import ServiceSettings
from tests.deploy.manifests import DEPLOY, Manifest, find, workloads
from worker.settings import WorkerSettings

SETTINGS: dict[str, type[ServiceSettings | WorkerSettings]] = {
    "api": ServiceSettings,
    "worker": WorkerSettings,
    "reconciler": WorkerSettings,
}


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


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_is_one_that_the_process_reads(
    cpu: list[Manifest], name: str
) -> None:
    env = RecordedVariables(environment(cpu, name))

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

    api = pods["api"]["containers"][0]
    (drain,) = [
        int(each["value"]) for each in api["env"] if each["name"] == "DRAIN_SECONDS"
    ]

    assert gunicorn_conf.graceful_timeout > MAX_TIMEOUT_SECONDS
    assert drain + gunicorn_conf.graceful_timeout < grace["api"]
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
