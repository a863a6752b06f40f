"""gunicorn formats no access log that is not printed."""

from __future__ import annotations

import os

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]

from service.server.gunicorn_conf import ErrorLog


def test_nothing_is_gathered_or_written_about_a_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = Config()
    config.set("accesslog", os.devnull)
    log = ErrorLog(config)

    log.access(resp=None, req=None, environ=None, request_time=None)

    assert not log.access_log_enabled
    assert not caplog.records
