"""`kennel rollout` against an API with a fake model server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner, Result

from export.publication.rollouts import begin_rollout, load_canary, run_rollout
from export.publication.served import find_rollout, read_served
from kennel.cli import main
from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.export.publication.versions import serve, write_versions
from tests.processes import free_port
from tests.service.api_process import serving
from tests.service.served_model import ServedModel
from worker.queue import JobQueue

Kennel: TypeAlias = Callable[..., Result]

NO_API = "http://127.0.0.1:1"
NO_REDIS = "redis://127.0.0.1:1/0"
"""Rollouts need none."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Version 3 answers and 4 waits."""
    write_versions(tmp_path / "models", 2, 3, 4)
    serve(tmp_path / "models", 3, 2)
    return tmp_path


@pytest.fixture
def served() -> Iterator[ServedModel]:
    """It has loaded whatever it is asked for already."""
    with ServedModel((2, 3, 4)) as server:
        yield server


@pytest.fixture
def url(home: Path, served: ServedModel) -> Iterator[str]:
    settings = ServiceSettings.from_env(
        {"KENNEL_HOME": str(home), "MODEL_NAMES": "pets"}
    )
    queue = JobQueue(NO_REDIS, settings.runs_dir, settings.input_root)
    with (
        ModelServerClient(served.target) as client,
        serving(create_app(settings, client, queue)) as address,
    ):
        yield address


@pytest.fixture
def kennel(home: Path, url: str) -> Kennel:
    return lambda *arguments: invoke(home, url, *arguments)


def invoke(home: Path, url: str, *arguments: str) -> Result:
    environment = {"KENNEL_HOME": str(home), "KENNEL_URL": url, "MODELS_DIR": None}
    return CliRunner().invoke(main, ("rollout", *arguments), env=environment)


def running(home: Path, percent: float = 5) -> None:
    rollout = begin_rollout(home / "models", "pets", 4, mirror=10)
    load_canary(home / "models", rollout, needed=())
    run_rollout(home / "models", rollout, percent)


def loaded(home: Path) -> list[int]:
    return read_served(home / "models")["pets"].loaded([4, 3, 2])


def test_rollout_is_started_shown_widened_and_promoted(
    kennel: Kennel, home: Path
) -> None:
    started = kennel("start", "pets", "4", "--percent", "5")
    widened = kennel("set", "pets", "--percent", "50")
    shown = json.loads(kennel("status", "pets", "--json").output)
    promoted = kennel("promote", "pets")

    assert started.exit_code == 0, started.output
    assert "canary: 4, 5 % of them" in started.output
    assert "canary: 4, 50 % of them" in widened.output
    assert (shown["stable"], shown["canary"]) == (3, 4)
    assert "kennel rollback pets 3" in promoted.output
    assert loaded(home) == [4, 3]


def test_rollout_is_aborted(home: Path) -> None:
    running(home)

    assert "pets version 3 answers" in invoke(home, NO_API, "abort", "pets").output
    assert loaded(home) == [3]


def test_status_is_a_screen_of_figures(kennel: Kennel, home: Path) -> None:
    running(home)

    output = kennel("status", "pets").output

    assert output.startswith("pets: version 4 beside 3, ")
    assert "requests" in output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("start", "pets", "9"), 1, "no version 9: there are 4, 3, 2"),
        (("start", "pets", "3"), 1, "already answers"),
        (("start", "cows", "3"), 1, "no model 'cows'"),
        (("start", "pets", "4", "--percent", "101"), 2, "0<=x<=100"),
        (("set", "pets", "--percent", "-1"), 2, "0<=x<=100"),
        (("promote", "pets"), 1, "kennel rollout start pets VERSION"),
    ],
)
def test_mistake_is_named_with_its_remedy(
    home: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = invoke(home, NO_API, *arguments)

    assert (result.exit_code, words in result.output) == (code, True), result.output
    assert find_rollout(home / "models", "pets") is None


def test_status_without_a_rollout_names_the_remedy(kennel: Kennel) -> None:
    result = kennel("status", "pets")

    assert result.exit_code == 1
    assert "the API knows no rollout of pets" in result.output


def test_second_rollout_is_refused(home: Path) -> None:
    running(home)

    result = invoke(home, NO_API, "start", "pets", "4")

    assert result.exit_code == 1
    assert "kennel rollout promote pets, or kennel rollout abort pets" in result.output


def test_without_an_api_nothing_is_loaded_and_that_is_said(home: Path) -> None:
    result = invoke(home, f"http://127.0.0.1:{free_port()}", "start", "pets", "4")

    assert result.exit_code == 1
    assert "it was not checked that the API holds version 4 back" in result.output
    assert loaded(home) == [3, 2]


def test_without_an_api_the_status_is_what_was_decided(home: Path) -> None:
    running(home)

    result = invoke(home, f"http://127.0.0.1:{free_port()}", "status", "pets")

    assert result.exit_code == 0
    assert "running, 5 % of requests" in result.output
    assert "No comparison: no API at" in result.output


def test_version_that_cannot_be_loaded_ends_its_rollout(
    kennel: Kennel, home: Path, served: ServedModel
) -> None:
    served.versions, served.loading = (2, 3), (4,)

    result = kennel("start", "pets", "4", "--wait", "1")

    assert result.exit_code == 1
    assert "pets version 4 is LOADING after 1 s" in result.output
    assert loaded(home) == [3]
