"""Settings: defaults for a laptop, and errors that name their variable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import InvalidRequestError
from service.settings import ServiceSettings


def test_empty_environment_gives_the_defaults() -> None:
    here = Path.cwd()

    assert ServiceSettings.from_env({"PORT": ""}) == ServiceSettings(
        models_dir=here / "var/models",
        runs_dir=here / "var/runs",
        input_root=here / "var/data",
    )


@pytest.mark.parametrize(
    ("env", "device"),
    [
        ({"MODEL_SERVER_DEVICE": "gpu"}, "gpu"),
        ({"COMPOSE_PROFILES": "gpu,observability"}, "gpu"),
        ({"COMPOSE_PROFILES": "observability"}, "cpu"),
        ({"COMPOSE_PROFILES": "gpu", "MODEL_SERVER_DEVICE": "cpu"}, "cpu"),
    ],
)
def test_device_is_the_profiles_unless_it_is_set(
    env: dict[str, str], device: str
) -> None:
    assert ServiceSettings.from_env(env).model_server_device == device


def test_values_are_read() -> None:
    settings = ServiceSettings.from_env(
        {
            "MODEL_NAMES": "pets, drivers",
            "KENNEL_HOME": "/srv/kennel",
            "REQUEST_TIMEOUT_SECONDS": "2.5",
            "HOST": "::1",
            "MAX_IMAGES": "500",
        }
    )

    assert settings.model_names == ("pets", "drivers")
    assert settings.runs_dir == Path("/srv/kennel/runs")
    assert settings.request_timeout_seconds == 2.5
    assert settings.bind == "[::1]:8000"
    assert settings.max_in_flight == 500


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PORT", "http"),
        ("INPUT_ROOT", "s3://"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("WEB_THREADS", "-1"),
        ("DRAIN_SECONDS", "-1"),
        ("MAX_IMAGES", "1.5"),
        ("MAX_IN_FLIGHT", "63"),
        ("MAX_REQUEST_BYTES", "64MB"),
        ("MAX_UPLOAD_BYTES", "4GB"),
        ("MAX_UNPACKED_BYTES", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "nan"),
        ("REQUEST_TIMEOUT_SECONDS", "60"),
        ("MODEL_SERVER", "localhost"),
        ("MODEL_SERVER", ":8500"),
        ("MODEL_NAMES", "pets,../etc"),
        ("DEFAULT_MODEL", "a b"),
        ("MIN_FREE_MIB", "1 GiB"),
    ],
)
def test_malformed_value_names_its_variable(variable: str, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=variable):
        ServiceSettings.from_env({variable: text})


def test_malformed_setting_ends_the_start_with_misuse() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "service.main"],
        env={"PORT": "http"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert run.returncode == 2
    assert run.stderr.startswith("PORT='http' is not a whole number")


def test_photos_may_lie_in_object_storage() -> None:
    settings = ServiceSettings.from_env({"INPUT_ROOT": "s3://bucket/photos"})

    assert settings.inputs == "s3://bucket/photos"
