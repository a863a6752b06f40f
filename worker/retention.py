"""How long ended runs and their uploaded photos stay.

Whatever is not over stays: a job that waits for a model or a disk may do so for weeks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from models.environment import read_days
from models.errors import ConflictError, NotFoundError
from worker.deletion import delete_photos, delete_run
from worker.run import Run

PASS_SECONDS: Final = 0.5
"""How long one look may delete: lost work waits for the next one."""

_LONGEST_DAYS: Final = 36_500.0
_DAY_SECONDS: Final = 24 * 3600

_log = logging.getLogger("kennel.reconciler")


@dataclass(frozen=True)
class Retention:
    """Days after a run's end; 0: for ever.

    Attributes:
        run_days: until all of it is deleted, its CSV included. Three months: a Kaggle
            competition's length, and without photos a run is small.
        photo_days: until the photos that were uploaded for it are; a week is enough to
            look at the least certain ones, or to retry a job that failed.
    """

    run_days: float = 90.0
    photo_days: float = 7.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings from environment variables; an empty one counts as unset.

        Raises:
            InvalidRequestError: a value cannot be used; the message names the variable.
        """
        limits = (0.0, _LONGEST_DAYS)
        return cls(
            run_days=read_days(env, "RETENTION_DAYS", cls.run_days, limits),
            photo_days=read_days(env, "PHOTOS_RETENTION_DAYS", cls.photo_days, limits),
        )


FOR_EVER: Final = Retention(run_days=0, photo_days=0)


def enforce_retention(runs: Iterable[Run], retention: Retention) -> None:
    """Delete what has been there for longer than *retention*, for half a second.

    What is left is found the next time. Redis holds nothing of a run that is over, or
    what a worker finds without effect.

    Raises:
        OSError: the disk is read-only.
    """
    deadline = time.monotonic() + PASS_SECONDS
    for run in runs:
        if time.monotonic() > deadline:
            return
        try:
            _enforce(run, retention)
        except (ConflictError, NotFoundError) as error:
            _log.debug("run %s stays for now: %s", run.id, error)


def _enforce(run: Run, retention: Retention) -> None:
    ended = run.ended()
    if ended is None:
        return
    days = (time.time() - ended) / _DAY_SECONDS
    if 0 < retention.run_days < days:
        delete_run(run, ended=ended)
        _log.info("run %s: deleted, it ended %.0f days ago", run.id, days)
    elif 0 < retention.photo_days < days and run.photos.is_dir():
        delete_photos(run, ended=ended)
        _log.info("run %s: photos deleted, it ended %.0f days ago", run.id, days)
