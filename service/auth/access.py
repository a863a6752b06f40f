"""What each route needs: the one table. A route that is not in it needs admin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.auth.keys import ADMIN, JOBS, PREDICT

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Need:
    """What a request must show.

    Attributes:
        scope: a scope that its key must have; None: any valid key will do.
        open: it needs no key at all.
        page: a browser that shows no key is sent to the login page.
    """

    scope: str | None = None
    open: bool = False
    page: bool = False


OPEN: Final = Need(open=True)
ANY_KEY: Final = Need()
PAGE: Final = Need(page=True)
_ADMIN: Final = Need(ADMIN)

NEEDS: Final[dict[str, Need]] = {
    "predictions": Need(PREDICT),
    "explanations": Need(PREDICT),
    "jobs": Need(JOBS),
    "scores": Need(JOBS),
    "models": ANY_KEY,
    "rollouts": ANY_KEY,
    "tensorflow-serving": Need(PREDICT),
    "open-inference": Need(PREDICT),
    "open-inference.live": OPEN,
    "open-inference.ready": OPEN,
    "observation.info": ANY_KEY,
    "observation.metrics": _ADMIN,
    "health": OPEN,
    "login": OPEN,
    "documents": OPEN,
    "static": OPEN,
    "pages": PAGE,
    "pages.jobs": Need(JOBS, page=True),
    "pages.job": Need(JOBS, page=True),
}
"""By endpoint (`blueprint.view`) where one is listed, else by blueprint."""


def need_of(endpoint: str, method: str) -> Need:
    """What a request for *endpoint* needs.

    Where any key may look, only admin may change something.
    """
    need = listed_need(endpoint) or _ADMIN
    if need == ANY_KEY and method not in SAFE_METHODS:
        return _ADMIN
    return need


def listed_need(endpoint: str) -> Need | None:
    """The table's entry for *endpoint*, if it has one."""
    return NEEDS.get(endpoint) or NEEDS.get(endpoint.partition(".")[0])
