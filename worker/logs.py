"""One line an event on stderr, for worker and reconciler alike."""

from __future__ import annotations

import logging

from redis.exceptions import RedisError


def set_up_logging() -> None:
    """Send what kennel says at INFO and what RQ says at WARNING to stderr."""
    layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=layout)
    for name in ("rq.worker", "rq.job", "rq.queue"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # RQ prints a traceback when Redis goes away; the worker says so in one line.
    return not (record.exc_info and isinstance(record.exc_info[1], RedisError))
