from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kennel.commands.serving import model_server
from kennel.local_redis import ACCESS_RULES, REDIS_USER
from models.logs import LogSettings
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
FILES = [COMPOSE, *sorted((ROOT / "deploy").glob("compose.*.yml"))]
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]

_VARIABLE = re.compile(r"\$\{(\w+)(:-|:\?)?((?:[^{}]|\$\{[^}]*\})*)\}")


class ReadVariables(dict[str, str]):
    """An environment that remembers which variables were asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def defaults(text: object) -> str:
    """What compose makes of *text* where no variable is set but the required ones."""

    def value(match: re.Match[str]) -> str:
        return defaults(match[3]) if match[2] == ":-" else "chosen"

    return _VARIABLE.sub(value, str(text))


def images() -> Iterator[tuple[str, bool]]:
    for file in FILES:
        for service in yaml.safe_load(file.read_text())["services"].values():
            yield defaults(service["image"]), "build" in service


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_confined_and_restarted(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert "max-size" in service["logging"]["options"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_images_are_pinned_or_built_here() -> None:
    for image, built in images():
        name, _, tag = image.rpartition(":")

        assert name, f"{image} has no tag"
        assert built or re.match(r"\d+\.\d+", tag), image


def test_the_only_way_in_is_the_api_on_loopback() -> None:
    published = {n: s["ports"] for n, s in SERVICES.items() if "ports" in s}
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    outside = {name for name, network in networks.items() if not network}

    assert list(published) == ["api"]
    assert [defaults(port) for port in published["api"]] == ["127.0.0.1:8000:8000"]
    assert [n for n, s in SERVICES.items() if outside & {*s["networks"]}] == ["api"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_passwords_have_no_default(file: Path) -> None:
    for name, operator, _ in _VARIABLE.findall(file.read_text()):
        if re.search("(PASSWORD|SECRET|TOKEN|KEY)S?$", name):
            assert operator != ":-", f"{file}: {name}"


def test_redis_has_the_same_one_user_as_the_local_stack() -> None:
    command = SERVICES["redis"]["command"]
    name, state, password, *rules = command[command.index("--user") + 1 :]
    config = (ROOT / "deploy/redis.conf").read_text().splitlines()

    assert (name, state) == (REDIS_USER, "on")
    assert password.startswith(">${REDIS_PASSWORD:?")
    assert tuple(rules) == ACCESS_RULES
    assert "user default off" in config
    assert "maxmemory-policy noeviction" in config


@pytest.mark.parametrize(
    ("service", "settings"),
    [
        ("api", ServiceSettings),
        ("worker", WorkerSettings),
        ("reconciler", WorkerSettings),
    ],
)
def test_every_variable_is_one_that_the_process_reads(
    service: str, settings: type[ServiceSettings | WorkerSettings]
) -> None:
    variables = SERVICES[service]["environment"]
    env = ReadVariables({name: defaults(text) for name, text in variables.items()})

    read = settings.from_env(env)
    assert LogSettings.from_env(env).format == "json"

    assert set(variables) <= env.names
    assert read.redis_url == "redis://kennel:chosen@redis:6379/0"
    assert read.model_server == "model-server:8500"


def test_api_and_workers_share_the_runs() -> None:
    for name in ("api", "worker", "reconciler"):
        service = SERVICES[name]

        assert f"runs:{service['environment']['RUNS_DIR']}" in service["volumes"]


def test_the_embedded_server_knows_every_flag_of_the_command() -> None:
    known = {option for each in model_server.params for option in each.opts}
    used = {flag.partition("=")[0] for flag in SERVICES["model-server"]["command"]}

    assert used <= known


def test_mounted_configuration_files_exist() -> None:
    for file in FILES:
        for service in yaml.safe_load(file.read_text())["services"].values():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                assert not source.startswith("./deploy/") or (ROOT / source).is_file()
