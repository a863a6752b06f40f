"""The jobs of an API, which answers a page of them at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from kennel.api.answers import Job
from kennel.api.call import Call
from kennel.api.options import query_path
from models.errors import ConflictError, NotFoundError, quoted

PAGE: Final = 500
"""As many as one answer may hold."""

CANDIDATES: Final = 10
"""As many jobs are named where the beginning of an id fits several."""

_Page: TypeAlias = tuple[list[Job], str | None]
_Ask: TypeAlias = Callable[[Call, Callable[[dict[str, Any]], _Page]], _Page]


def list_jobs(
    ask: _Ask,
    state: str | None = None,
    limit: int | None = None,
    prefix: str | None = None,
) -> Iterator[Job]:
    """The newest *limit* jobs, or all, newest first.

    In *state*, and with ids that begin with *prefix*, if these are given. Each page is
    asked for when it is needed.

    Raises:
        ApiError: the API refused or cannot be reached.
    """
    after, left = None, math.inf if limit is None else limit
    while left > 0:
        page = {"limit": int(min(PAGE, left)), "after": after}
        query = {**page, "state": state, "prefix": prefix}
        jobs, after = ask(Call("GET", query_path("/v1/jobs", query)), _read_page)
        yield from jobs
        left -= len(jobs)
        if after is None:
            return


def find_id(ask: _Ask, start: str) -> str:
    """The id of the one job whose id begins with *start*.

    Raises:
        NotFoundError: there is none.
        ConflictError: there are several; the message lists them, newest first.
        ApiError: the API refused or cannot be reached.
    """
    found = list(list_jobs(ask, limit=CANDIDATES + 1, prefix=start)) if start else []
    # An exact id is no ambiguity, however others go on.
    if len(found) == 1 or any(job.id == start for job in found):
        return start if len(found) > 1 else found[0].id
    if not found:
        message = (
            f"there is no job whose id is or begins with {quoted(start)}: kennel jobs "
            "list shows the jobs"
        )
        raise NotFoundError(message, code="job_not_found")
    more = "\n  and more" if len(found) > CANDIDATES else ""
    lines = (f"\n  {job.id}  {job.state}  {job.input}" for job in found[:CANDIDATES])
    message = f"several job ids begin with {quoted(start)}: give more characters"
    raise ConflictError(message + "".join(lines) + more, code="ambiguous_id")


def _read_page(answer: dict[str, Any]) -> _Page:
    return [Job.from_json(each) for each in answer["jobs"]], answer.get("next")
