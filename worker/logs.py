"""How worker and reconciler log: as every process does, and RQ only its troubles."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from redis.exceptions import RedisError

from models.logs import LogSettings, set_up_logging


def set_up_worker_logging(env: Mapping[str, str]) -> None:
    """Log as LOG_FORMAT and LOG_LEVEL in *env* say, RQ at WARNING.

    Raises:
        InvalidRequestError: a variable cannot be used; the message names it.
    """
    set_up_logging(LogSettings.from_env(env))
    for name in ("rq.worker", "rq.job", "rq.queue"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # RQ prints a traceback when Redis goes away; the worker says so in one line.
    return not (record.exc_info and isinstance(record.exc_info[1], RedisError))
