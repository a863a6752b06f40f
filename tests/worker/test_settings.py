"""Settings of a worker, from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import (
    InvalidRequestError,
)
from worker.retention import Retention
from worker.settings import WorkerSettings

QUEUE = "rq:queue:kennel"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "localhost"),
        ("MODEL_SERVER", "localhost"),
        ("MODEL_WAIT_SECONDS", "soon"),
        ("MODEL_WAIT_SECONDS", "3e6"),
        ("RECONCILE_SECONDS", "0"),
        ("RECONCILE_SECONDS", "nan"),
        ("QUEUE_NAME", "a b"),
        ("RETENTION_DAYS", "-1"),
        ("PHOTOS_RETENTION_DAYS", "soon"),
    ],
)
def test_malformed_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        WorkerSettings.from_env({name: value})


def test_settings_default_below_kennel_home() -> None:
    settings = WorkerSettings.from_env({"KENNEL_HOME": "/srv/kennel", "RUNS_DIR": ""})

    assert settings.runs_dir == Path("/srv/kennel/runs")
    assert settings.input_root == Path("/srv/kennel/data")
    assert settings.model_wait_seconds == 6 * 3600
    assert settings.retention == Retention(run_days=90, photo_days=7)
