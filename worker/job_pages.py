"""The jobs of a kennel a page at a time: only what is shown is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError, NotFoundError, quoted
from worker.run import Run
from worker.runs import newest_first
from worker.status import STATES, JobStatus, read_state, read_status

PAGE: Final = 100
LONGEST_PAGE: Final = 500


@dataclass(frozen=True)
class JobPage:
    """Some jobs, newest first.

    Attributes:
        next: the id after which the next page begins; None: there is no other job.
    """

    jobs: tuple[JobStatus, ...]
    next: str | None


def read_page(
    runs_dir: Path,
    limit: int = PAGE,
    *,
    after: str | None = None,
    state: str | None = None,
    owner: str | None = None,
    prefix: str | None = None,
) -> JobPage:
    """At most *limit* jobs older than the job *after*, those in *state* if it is given.

    With *owner*, only theirs are there; with *prefix*, only ids that begin with it.

    Raises:
        InvalidRequestError: a value that cannot be used, or *after* is not there.
    """
    _check(limit, state)
    found: list[JobStatus] = []
    for job_id in _older(newest_first(runs_dir, owner, prefix), after):
        status = _read(Run(runs_dir / job_id), state)
        if status is None:
            continue
        if len(found) == limit:
            return JobPage(tuple(found), found[-1].id)
        found.append(status)
    return JobPage(tuple(found), None)


def _check(limit: int, state: str | None) -> None:
    if not 1 <= limit <= LONGEST_PAGE:
        raise InvalidRequestError(f"limit={limit} is not from 1 to {LONGEST_PAGE}")
    if state is not None and state not in STATES:
        message = f"state={quoted(state)} is no state: use {', '.join(STATES)}"
        raise InvalidRequestError(message)


def _older(job_ids: list[str], after: str | None) -> list[str]:
    if after is None:
        return job_ids
    try:
        return job_ids[job_ids.index(after) + 1 :]
    except ValueError as error:
        message = (
            f"after={quoted(after)}: there is no such job (any more): begin with the "
            "first page"
        )
        raise InvalidRequestError(message) from error


def _read(run: Run, state: str | None) -> JobStatus | None:
    try:
        if state is not None and read_state(run) != state:
            return None
        status = read_status(run)
    except NotFoundError:
        return None
    return status if state in {None, status.state} else None
