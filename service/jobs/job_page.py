"""The query of GET /v1/jobs: which page of the jobs."""

from __future__ import annotations

from typing import Final, TypedDict
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from models.errors import InvalidRequestError
from worker.queue import LONGEST_PAGE, PAGE

_KNOWN: Final = ("limit", "after", "state")


class PageQuery(TypedDict):
    """What `JobQueue.page` takes."""

    limit: int
    after: str | None
    state: str | None


def read_page_query(given: MultiDict[str, str]) -> PageQuery:
    """The page that a query asks for; the first hundred jobs without one.

    Raises:
        InvalidRequestError: a parameter that is unknown, twice there or no number.
    """
    for name, values in given.lists():
        if name not in _KNOWN:
            known = ", ".join(_KNOWN)
            raise InvalidRequestError(f"unknown parameter {name!r}: known are {known}")
        if len(values) > 1:
            raise InvalidRequestError(f"{name!r} is there twice: send it once")
    return {
        "limit": _limit(given.get("limit")),
        "after": given.get("after"),
        "state": given.get("state"),
    }


def next_link(path: str, query: PageQuery, after: str) -> str:
    """The Link header that leads from a page to the one behind *after* (RFC 8288)."""
    given = {"limit": query["limit"], "after": after, "state": query["state"]}
    text = urlencode({name: each for name, each in given.items() if each is not None})
    return f'<{path}?{text}>; rel="next"'


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        message = f"limit={text[:80]!r} is not a whole number from 1 to {LONGEST_PAGE}"
        raise InvalidRequestError(message)
    return int(text)
