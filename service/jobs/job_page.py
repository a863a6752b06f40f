"""The query of GET /v1/jobs: which page of the jobs."""

from __future__ import annotations

from typing import Final, TypedDict
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from models.errors import InvalidRequestError, quoted
from service.once_each import once_each
from worker.queue import LONGEST_PAGE, PAGE

_KNOWN: Final = ("limit", "after", "state", "prefix")


class PageQuery(TypedDict):
    """What `JobQueue.page` takes."""

    limit: int
    after: str | None
    state: str | None
    prefix: str | None


def read_page_query(given: MultiDict[str, str]) -> PageQuery:
    """The page that a query asks for; the first hundred jobs without one.

    Raises:
        InvalidRequestError: a parameter that is unknown, twice there or no number.
    """
    query = once_each(given, _KNOWN)
    return {
        "limit": _limit(query.get("limit")),
        "after": query.get("after"),
        "state": query.get("state"),
        "prefix": query.get("prefix"),
    }


def next_link(path: str, query: PageQuery, after: str) -> str:
    """The Link header that leads from a page to the one behind *after* (RFC 8288)."""
    given = {**query, "after": after}
    text = urlencode({name: each for name, each in given.items() if each is not None})
    return f'<{path}?{text}>; rel="next"'


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        message = f"limit={quoted(text)} is not a whole number from 1 to {LONGEST_PAGE}"
        raise InvalidRequestError(message)
    return int(text)
