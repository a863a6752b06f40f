"""Folder jobs keep out of a rollout: they are the stable version's, to their end."""

from __future__ import annotations

from flask.testing import FlaskClient

from service.settings import ServiceSettings
from tests.pictures import write_folder
from tests.service.rollout.conftest import Deciding


def submitted(client: FlaskClient, **members: object) -> int:
    answer = client.post("/v1/jobs", json={"input": "test", **members})
    assert answer.status_code == 202, answer.text
    return int(answer.get_json()["version"])


def test_job_that_names_no_version_is_pinned_to_the_stable_one(
    counted: Deciding, settings: ServiceSettings
) -> None:
    write_folder(settings.input_root / "test", 2)
    client = counted(percent=100)

    assert submitted(client) == 1
    assert submitted(client, version=2) == 2
