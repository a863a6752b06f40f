"""The compose files: settings, health checks, networks, rights; without an engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kennel.doctor.deployment import RecordedVariables
from kennel.serving_config.files import flags_in
from models.contract import MAX_BATCH_SIZE
from models.logs import LogSettings
from service.settings import ServiceSettings
from tests.deploy.compose_files import (
    COMPOSE,
    FILES,
    ROOT,
    SERVICES,
    defaults,
    services,
    variables,
)
from worker.settings import WorkerSettings

ONE_SHOT = {"trainer"}
MODEL_SERVERS = ["model-server", "model-server-gpu"]
OWN_USER = {"prometheus", "grafana"}
"""Their images name a user without rights."""


def images() -> Iterator[tuple[str, bool]]:
    for file in FILES:
        for service in services(file).values():
            if "image" in service:
                yield defaults(service["image"]), "build" in service


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_bounded(name: str) -> None:
    service = SERVICES[name]

    assert "max-size" in service["logging"]["options"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.fullmatch(r"\d+[mg]", defaults(service["mem_limit"]))
    assert defaults(service["cpus"]) == "0"
    assert service["pids_limit"] > 0


@pytest.mark.parametrize("name", SERVICES.keys() - ONE_SHOT)
def test_every_service_is_watched_and_restarted(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["stop_grace_period"]


@pytest.mark.parametrize("name", SERVICES.keys() - OWN_USER)
def test_nobody_is_root(name: str) -> None:
    service = SERVICES[name]
    user = service.get("user") or _user_of(service["build"])

    assert defaults(user) == "10001:10001"


def test_images_are_pinned_or_built_here() -> None:
    for image, built in images():
        name, _, tag = image.partition("@")[0].rpartition(":")

        assert name, f"{image} has no tag"
        assert built or re.match(r"v?\d+\.\d+", tag), image


def test_only_the_proxy_and_the_dashboards_are_reached_on_loopback() -> None:
    published = {
        n: defaults(s["ports"][0]) for n, s in SERVICES.items() if "ports" in s
    }
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    outside = {name for name, network in networks.items() if not network}

    assert published == {
        "proxy": "127.0.0.1:8000:8080",
        "prometheus": "127.0.0.1:9090:9090",
        "grafana": "127.0.0.1:3000:3000",
    }
    for name, service in SERVICES.items():
        assert name in ONE_SHOT | {*published} or not outside & {*service["networks"]}


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_each_profile_has_one_model_server(profile: str) -> None:
    chosen = [n for n in MODEL_SERVERS if profile in SERVICES[n]["profiles"]]

    assert len(chosen) == 1
    networks = SERVICES[chosen[0]]["networks"]
    assert chosen == ["model-server"] or networks["inside"]["aliases"] == [
        "model-server"
    ]


def test_profile_gpu_tells_the_api_that_its_model_server_has_a_gpu() -> None:
    given = SERVICES["api"]["environment"]

    assert given["COMPOSE_PROFILES"] == "${COMPOSE_PROFILES:-}"
    assert SERVICES["model-server-gpu"]["profiles"] == ["gpu"]
    read = ServiceSettings.from_env({"COMPOSE_PROFILES": "gpu"})
    assert read.model_server_device == "gpu"


@pytest.mark.parametrize(
    ("service", "settings"),
    [
        ("api", ServiceSettings),
        ("worker", WorkerSettings),
        ("reconciler", WorkerSettings),
    ],
)
def test_every_variable_is_one_that_the_process_reads(
    tmp_path: Path, service: str, settings: type[ServiceSettings | WorkerSettings]
) -> None:
    given = SERVICES[service]["environment"]
    env = RecordedVariables({name: defaults(text) for name, text in given.items()})
    secret = tmp_path / "password"
    secret.write_text("chosen")
    env["REDIS_PASSWORD_FILE"] = str(secret)

    read = settings.from_env(env)
    assert LogSettings.from_env(env).format == "json"

    assert set(given) <= env.names | {"OTEL_EXPORTER_OTLP_ENDPOINT"}
    assert read.redis_url == "redis://kennel:chosen@redis:6379/0"
    assert read.model_server == "model-server:8500"


def test_the_proxy_is_the_one_that_the_api_trusts() -> None:
    assert defaults(SERVICES["api"]["environment"]["TRUSTED_PROXIES"]) == "1"


def test_api_and_workers_share_the_runs() -> None:
    for name in ("api", "worker", "reconciler"):
        service = SERVICES[name]

        assert f"runs:{service['environment']['RUNS_DIR']}" in service["volumes"]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_model_servers_get_the_generated_flags(device: str) -> None:
    folder = ROOT / "deploy/model-server" / device
    server = SERVICES["model-server" if device == "cpu" else "model-server-gpu"]
    embedded = services(ROOT / "deploy/compose.embedded.yml")["model-server"]

    assert f"./{folder.relative_to(ROOT)}:/etc/kennel:ro" in server["volumes"]
    for entry_point in (server["entrypoint"], embedded["entrypoint"]):
        assert "$$(grep -v '^#' /etc/kennel/flags)" in entry_point[2]
    for flag in flags_in((folder / "flags").read_text()):
        value = flag.partition("=")[2]
        if value.startswith("/etc/kennel/"):
            assert (folder / value.removeprefix("/etc/kennel/")).is_file()


def test_mounted_configuration_exists() -> None:
    for file in FILES:
        for service in services(file).values():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                assert not source.startswith("./deploy/") or (ROOT / source).is_dir()


def test_variables_have_one_default_everywhere() -> None:
    # Each model server has an image of its own.
    for name in {each for file in FILES for each in variables(file)}:
        found = {variables(file)[name] for file in FILES if name in variables(file)}

        assert len(found) == 1 or name in {"MODEL_SERVER_IMAGE", "TLS_PORT"}, name


@pytest.mark.tensorflow
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_batch_of_the_clients_fits_the_batching_parameters(device: str) -> None:
    from models.wire.config import read_batching_parameters

    file = ROOT / "deploy/model-server" / device / "batching.config"

    assert read_batching_parameters(file).max_batch_size >= MAX_BATCH_SIZE


def _user_of(build: dict[str, str]) -> str:
    text = (ROOT / build["dockerfile"]).read_text()
    users = re.findall(r"^USER (.+)$", text, re.MULTILINE)

    assert {*users} == {"10001:10001"}
    return str(users[-1])
