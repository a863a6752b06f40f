"""The drill counts failures correctly, and runs the commands of docs/operations.md."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.trials.events import (
    BACKUPS,
    PAGE,
    Happened,
    Observation,
    commands_of,
    complaints,
)
from deploy.trials.load import NO_ANSWER, OK, Load, Request, call_predict, call_readyz
from models.errors import KennelError
from tests.deploy.compose_files import ROOT
from tests.pictures import grey
from tests.processes import free_port

OPERATIONS = (ROOT / PAGE).read_text()
PROCEDURES = ["Upgrade", "Backup", "Restore"]


def seen(
    event: str,
    *predictions: Request,
    looks: tuple[Request, ...] = (),
    equal: bool = True,
) -> Observation:
    """An event at second 10 that was over, but for what *looks* missed, at 14."""
    return Observation(event, Happened(10.0, 4.0), predictions, looks, equal)


def test_a_refused_connection_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "rex.png").write_bytes(grey(9))
    port = free_port()

    assert call_predict(port, tmp_path / "rex.png")() == NO_ANSWER
    assert call_readyz(port)() == NO_ANSWER


def test_the_load_asks_at_its_rate_and_forgets_nobody() -> None:
    statuses = iter([OK, 503, NO_ANSWER, *[OK] * 1000])

    with Load(lambda: next(statuses), rate=200) as load:
        load.wait_for(20, 30)

    asked = sorted(request.asked for request in load.requests)
    assert asked[19] - asked[0] == pytest.approx(19 / 200)
    failed = [request.status for request in load.requests if request.failed]
    assert sorted(failed) == [NO_ANSWER, 503]


@pytest.mark.parametrize("asked", [9.9, 13.0, 15.5])
def test_predictions_may_fail_while_the_model_server_is_away(asked: float) -> None:
    failure = Request(asked, asked + 1, 503)
    not_ready = Request(15.9, 16.0, 503)

    assert complaints(seen("model-server killed", failure, looks=(not_ready,))) == []
    assert len(complaints(seen("redis killed", failure, looks=(not_ready,)))) == 1


def test_no_prediction_may_fail_when_all_is_ready_again() -> None:
    late = Request(14.5, 14.6, 503)

    assert complaints(seen("proxy killed", late)) == [
        "proxy killed: 1 predictions failed"
    ]


def test_a_job_has_to_end_with_the_same_bytes() -> None:
    assert len(complaints(seen("proxy killed", equal=False))) == 1


def test_seconds_are_measured_from_the_first_failure_and_the_event() -> None:
    failures = Request(10.5, 10.6, NO_ANSWER), Request(11.0, 13.0, 503)
    observation = seen("proxy killed", *failures, looks=(Request(12, 12.5, 503),))

    assert observation.failing_seconds == pytest.approx(2.5)
    assert observation.ready_seconds == pytest.approx(2.5)
    assert "| 1 x none, 1 x 503 | 2.5 s | 4.0 s | 2.5 s | same bytes |" in str(
        observation
    )


@pytest.mark.parametrize("heading", PROCEDURES)
def test_procedures_of_the_page_are_commands_of_a_shell(heading: str) -> None:
    commands = commands_of(OPERATIONS, heading)
    checked = subprocess.run(["bash", "-n", "-c", commands], check=False)

    assert checked.returncode == 0
    assert "docker compose" in commands


@pytest.mark.parametrize("heading", ["Backup", "Restore"])
def test_backups_lie_where_the_drill_expects_them(heading: str) -> None:
    assert BACKUPS in commands_of(OPERATIONS, heading)


def test_a_procedure_that_is_gone_is_named() -> None:
    with pytest.raises(KennelError, match="'Upgrades'"):
        commands_of(OPERATIONS, "Upgrades")
