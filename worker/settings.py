"""Where a worker finds its neighbours and how long it waits, from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from models.environment import (
    read_address,
    read_input_root,
    read_location,
    read_max_pixels,
    read_path,
    read_redis_url,
    read_seconds,
)
from models.errors import InvalidRequestError
from models.images.files import MAX_PIXELS
from worker.retention import Retention
from worker.worklist import QUEUE_NAME

LONGEST_MODEL_WAIT_SECONDS: Final = 30 * 24 * 3600.0

_QUEUE_NAME: Final = re.compile("[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker or reconciler process; the defaults run on a laptop.

    Attributes:
        model_wait_seconds: how long a job waits for a model or photos that are away,
            without a worker, until it fails.
        input_url: object storage in the place of *input_root*.
        results: folder or URL that finished results are copied to.
        reconcile_seconds: pause between two looks for lost work.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    runs_dir: Path = Path("var/runs")
    input_root: Path = Path("var/data")
    input_url: str | None = None
    results: Path | str | None = None
    model_server: str = "127.0.0.1:8500"
    max_pixels: int = MAX_PIXELS
    model_wait_seconds: float = 6 * 3600.0
    reconcile_seconds: float = 3.0
    queue_name: str = QUEUE_NAME
    retention: Retention = field(default_factory=Retention)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings from environment variables; an empty one counts as unset.

        Raises:
            InvalidRequestError: a value cannot be used; the message names the variable.
        """
        home = Path(env.get("KENNEL_HOME") or "var").absolute()
        input_root, input_url = read_input_root(env, home / "data")
        return cls(
            redis_url=read_redis_url(env, "REDIS_URL", cls.redis_url),
            runs_dir=read_path(env, "RUNS_DIR", home / "runs"),
            input_root=input_root,
            input_url=input_url,
            results=read_location(env, "RESULTS_URL"),
            model_server=read_address(env, "MODEL_SERVER", cls.model_server),
            max_pixels=read_max_pixels(env),
            model_wait_seconds=read_seconds(
                env,
                "MODEL_WAIT_SECONDS",
                cls.model_wait_seconds,
                (0.1, LONGEST_MODEL_WAIT_SECONDS),
            ),
            reconcile_seconds=read_seconds(
                env, "RECONCILE_SECONDS", cls.reconcile_seconds, (0.1, 60.0)
            ),
            queue_name=_matching(env, "QUEUE_NAME", cls.queue_name, _QUEUE_NAME),
            retention=Retention.from_env(env),
        )

    @property
    def inputs(self) -> Path | str:
        """Where the folders of photos are: a folder, or a URL of object storage."""
        return self.input_url or self.input_root


def _matching(
    env: Mapping[str, str], name: str, default: str, pattern: re.Pattern[str]
) -> str:
    text = env.get(name) or default
    if not pattern.fullmatch(text):
        message = f"{name}={text!r} is not possible: use for example {default}"
        raise InvalidRequestError(message)
    return text
