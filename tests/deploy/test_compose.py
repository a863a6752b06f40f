"""What can be wrong with the compose file without starting it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUNNING = sorted(set(SERVICES) - {"embedded-image"})


@pytest.mark.parametrize("name", RUNNING)
def test_service_restarts_is_checked_and_drops_privileges(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_image_is_pinned_or_built_here(name: str) -> None:
    image = re.sub(r"\$\{\w+:-(.*)\}", r"\1", SERVICES[name]["image"])

    assert image.startswith("kennel-") or re.search(r":\d+\.\d+", image)


def test_passwords_come_from_the_environment_without_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    passwords = re.findall(r"\$\{REDIS_PASSWORD([^}]*)\}", text)
    assert len(passwords) == 2
    assert all(each.startswith(":?") for each in passwords)


def test_redis_is_durable_never_evicts_and_is_not_published() -> None:
    redis = SERVICES["redis"]

    command = " ".join(redis["command"])
    assert "appendonly yes" in command
    assert "maxmemory-policy noeviction" in command
    assert "ports" not in redis


def test_api_listens_on_loopback_unless_told_otherwise() -> None:
    assert SERVICES["api"]["ports"] == ["${API_BIND:-127.0.0.1}:${API_PORT:-8000}:8000"]


def test_every_bind_mount_below_deploy_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./deploy/"):
                assert (ROOT / source).is_file(), source


def test_no_image_of_ours_copies_tensorflow_code() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()

    copied = re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
    assert copied
    assert not [each for each in copied if "networks" in each or "server" in each]
    assert "models models" not in text


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["batching.config", "batching-gpu.config"])
def test_batching_files_are_understood(name: str) -> None:
    from models.contract import MAX_BATCH_SIZE
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from models.server.batching import read_batching_parameters

    parameters = read_batching_parameters(ROOT / "deploy" / name)

    assert parameters.max_batch_size >= MAX_BATCH_SIZE
