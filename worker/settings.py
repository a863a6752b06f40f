"""Where a worker finds its neighbours and how long it waits, from the environment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from models.errors import InvalidRequestError
from worker.worklist import QUEUE_NAME

LONGEST_MODEL_WAIT_SECONDS: Final = 1200.0
"""Below the time limit of a job, or waiting would end as a hung shard."""

_QUEUE_NAME: Final = re.compile("[A-Za-z0-9_-]{1,64}")
_ADDRESS: Final = re.compile(r"[^\s/]+:[0-9]{1,5}")


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker or reconciler process; the defaults run on a laptop.

    Attributes:
        model_wait_seconds: how long a shard waits for a model that is away.
        reconcile_seconds: pause between two looks for lost work.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    runs_dir: Path = Path("var/runs")
    input_root: Path = Path("var/data")
    model_server: str = "127.0.0.1:8500"
    model_wait_seconds: float = 600.0
    reconcile_seconds: float = 3.0
    queue_name: str = QUEUE_NAME

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings from environment variables; an empty one counts as unset.

        Raises:
            InvalidRequestError: a value cannot be used; the message names the variable.
        """
        home = Path(env.get("KENNEL_HOME") or "var").absolute()
        return cls(
            redis_url=_redis_url(env, "REDIS_URL", cls.redis_url),
            runs_dir=Path(env.get("RUNS_DIR") or home / "runs").absolute(),
            input_root=Path(env.get("INPUT_ROOT") or home / "data").absolute(),
            model_server=_matching(env, "MODEL_SERVER", cls.model_server, _ADDRESS),
            model_wait_seconds=_seconds(
                env,
                "MODEL_WAIT_SECONDS",
                cls.model_wait_seconds,
                LONGEST_MODEL_WAIT_SECONDS,
            ),
            reconcile_seconds=_seconds(
                env, "RECONCILE_SECONDS", cls.reconcile_seconds, 60.0
            ),
            queue_name=_matching(env, "QUEUE_NAME", cls.queue_name, _QUEUE_NAME),
        )


def _redis_url(env: Mapping[str, str], name: str, default: str) -> str:
    url = env.get(name) or default
    if not url.startswith(("redis://", "rediss://", "unix://")):
        # The value stays out of the message: it may hold a password.
        message = f"{name} is no Redis URL: use for example {default}"
        raise InvalidRequestError(message)
    return url


def _matching(
    env: Mapping[str, str], name: str, default: str, pattern: re.Pattern[str]
) -> str:
    text = env.get(name) or default
    if not pattern.fullmatch(text):
        message = f"{name}={text!r} is not possible: use for example {default}"
        raise InvalidRequestError(message)
    return text


def _seconds(
    env: Mapping[str, str], name: str, default: float, longest: float
) -> float:
    text = env.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= longest:
        message = f"{name}={text!r} is not a number of seconds from 0.1 to {longest:g}"
        raise InvalidRequestError(message)
    return seconds
