"""The composition root of an API process: environment in, WSGI application out.

gunicorn calls `create` in each worker, after the fork, because a gRPC channel does not
survive one.
"""

from __future__ import annotations

import logging
import os

from flask import Flask

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from worker.queue import JobQueue


def create() -> Flask:
    """The application as the environment describes it; it lives as long as the process.

    Raises:
        InvalidRequestError: a variable cannot be used; the message names it.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    settings = ServiceSettings.from_env(os.environ)
    client = ModelServerClient(
        settings.model_server, timeout_seconds=settings.request_timeout_seconds
    )
    queue = JobQueue(settings.redis_url, settings.runs_dir, settings.input_root)
    return create_app(settings, client, queue)
