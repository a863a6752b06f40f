"""The composition root of an API process: environment in, WSGI application out.

gunicorn calls `create` in each worker, after the fork, because a gRPC channel does not
survive one.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

from flask import Flask

from models.images.files import limit_pixels
from models.logs import LogSettings, set_up_logging
from models.wire.client import ModelServerClient
from service.app import create_app
from service.observation.access_log import RequestIds
from service.observation.metrics.metrics import Metrics
from service.observation.metrics.shared_folder import shared_folder
from service.observation.observation import Observation
from service.observation.tracing import TracingSettings, start_spans
from service.settings import ServiceSettings
from worker.queue import JobQueue

SWITCH_SECONDS: Final = 0.001
"""How long a busy thread may keep the others from Python: a fifth of Python's own, because
the thread that accepts and refuses has to come through when forty are at work."""


def create() -> Flask:
    """The application as the environment describes it; it lives as long as the process.

    Raises:
        InvalidRequestError: a variable cannot be used; the message names it.
    """
    _set_up_logging()
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = ServiceSettings.from_env(os.environ)
    limit_pixels(settings.max_pixels)
    tracing = TracingSettings.from_env(os.environ)
    metrics = Metrics(shared_folder(os.environ))
    observation = Observation(metrics, start_spans(tracing))
    client = ModelServerClient(
        settings.model_server,
        timeout_seconds=settings.request_timeout_seconds,
        observer=observation,
    )
    queue = JobQueue(
        settings.redis_url,
        settings.runs_dir,
        settings.inputs,
        limits=settings.job_limits,
    )
    return create_app(settings, client, queue, observation)


def _set_up_logging() -> None:
    set_up_logging(LogSettings.from_env(os.environ))
    for handler in logging.getLogger().handlers:
        handler.addFilter(RequestIds())
