"""All jobs of an API, which answers a page of them at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from kennel.api.answers import Job
from kennel.api.call import Call
from kennel.api.options import query_path

PAGE: Final = 500
"""As many as one answer may hold."""


def list_jobs(
    ask: Callable[[Call], dict[str, Any]],
    state: str | None = None,
    limit: int | None = None,
) -> Iterator[Job]:
    """The newest *limit* jobs, or all, newest first, in *state* if it is given.

    Each page is asked for when it is needed.

    Raises:
        ApiError: the API refused or cannot be reached.
    """
    after, left = None, math.inf if limit is None else limit
    while left > 0:
        query = {"limit": int(min(PAGE, left)), "after": after, "state": state}
        page = ask(Call("GET", query_path("/v1/jobs", query)))
        yield from map(Job.from_json, page["jobs"])
        left -= len(page["jobs"])
        after = page.get("next")
        if after is None:
            return
