"""From the JSON of POST /v1/jobs to a request that the queue understands."""

from __future__ import annotations

import json
from typing import Any, Final

from flask import Request

from models.card import ModelCard
from models.errors import InvalidRequestError
from models.probabilities import check_clip_bound, parse_clip
from models.wire.client import ModelRef
from service.budget import Budget
from service.predictions.uploads import BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE
from service.served.catalog import Catalog
from worker.queue import JobRequest

MEMBERS: Final = ("model", "input", "format", "clip", "on_unreadable", "positive")
_TEXTS: Final = frozenset(MEMBERS) - {"clip"}


def read_json(request: Request) -> Any:
    """What the JSON body of *request* says.

    Raises:
        InvalidRequestError: it is no JSON.
        HTTPException: it is above the request's limit.
    """
    if not request.is_json:
        message = f"Content-Type {request.mimetype!r}: send application/json"
        raise InvalidRequestError(message, code=UNSUPPORTED_MEDIA_TYPE)
    try:
        return json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        message = f"the body is not JSON ({error})"
        raise InvalidRequestError(message, code=BAD_REQUEST) from error


def read_job_request(body: Any, catalog: Catalog, budget: Budget) -> JobRequest:
    """The job that *body* asks for, pinned to the model's current version.

    Raises:
        InvalidRequestError: not such an object; the message names the member.
        NotFoundError, ModelUnavailableError: the model cannot be asked.
        ModelContractError: the model does not describe itself.
    """
    given = _members(body)
    if "input" not in given:
        raise InvalidRequestError("input is missing: name a folder below INPUT_ROOT")
    name = catalog.find(given.get("model"))
    card = catalog.describe(ModelRef(name), budget.left())
    options = {
        member: given[member]
        for member in ("format", "on_unreadable", "positive")
        if member in given
    }
    return JobRequest(
        model=name,
        version=card.version,
        labels=card.labels,
        image_size=card.image_size,
        input=given["input"],
        clip=_clip(given.get("clip"), card),
        **options,
    )


def _members(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidRequestError("the body is not a JSON object")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name not in MEMBERS:
            known = ", ".join(MEMBERS)
            raise InvalidRequestError(f"unknown member {name!r}: known are {known}")
        if name in _TEXTS and not isinstance(value, str):
            raise InvalidRequestError(f"{name}={value!r} is not a text")
    return given


def _clip(value: Any, card: ModelCard) -> float | None:
    bound = parse_clip(None if value is None else str(value), card.clip_bound)
    if bound is not None:
        check_clip_bound(bound, len(card.labels))
    return bound
