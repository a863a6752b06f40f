"""From the members of POST /v1/jobs to a request that the queue understands."""

from __future__ import annotations

from typing import Any, Final

from flask import Request

from models.contract import ModelCard
from models.errors import InvalidRequestError, quoted
from models.probabilities import check_clip_bound, parse_clip
from models.wire.messages import ModelRef
from service.budget import Budget
from service.jobs.sheets import SHEETS
from service.predictions.json_body import parse_body
from service.predictions.query import read_model
from service.predictions.uploads import UNSUPPORTED_MEDIA_TYPE
from service.protection.guard import shown_key
from service.served.catalog import Catalog
from worker.queue import BY_DEFAULT, JobRequest

MEMBERS: Final = (
    *("model", "version", "label", "input"),
    *("format", "clip", "on_unreadable", "max_unreadable", "positive", "priority"),
    *SHEETS,
)
_TEXTS: Final = frozenset(MEMBERS) - {"clip", "version", "max_unreadable"}


def read_json(request: Request) -> Any:
    """What the JSON body of *request* says.

    Raises:
        InvalidRequestError: it is no JSON.
        HTTPException: it is above the request's limit.
    """
    if not request.is_json:
        given = request.mimetype
        message = (
            f"{f'Content-Type {quoted(given)}' if given else 'no Content-Type'}: send "
            "application/json (curl -d: add -H 'Content-Type: application/json'), or an "
            "archive as multipart/form-data, application/zip, application/x-tar or "
            "application/gzip"
        )
        raise InvalidRequestError(message, code=UNSUPPORTED_MEDIA_TYPE)
    return parse_body(request.get_data())


def read_job_request(body: Any, catalog: Catalog, budget: Budget) -> JobRequest:
    """The job that *body* asks for, pinned to the version that serves the model now.

    Raises:
        InvalidRequestError: not such an object; the message names the member.
        NotFoundError, ModelUnavailableError: the model cannot be asked.
        ModelContractError: the model does not describe itself.
    """
    given = _members(body)
    if "input" not in given:
        raise InvalidRequestError(
            "input is missing: name a folder below the input folder"
        )
    model = read_model(_selectors(given), catalog)
    card = catalog.describe(model, budget.left())
    options = {
        member: given[member]
        for member in ("format", "on_unreadable", "positive", "priority")
        if member in given
    }
    key = shown_key()
    return JobRequest(
        model=model.name,
        version=card.version,
        labels=card.labels,
        image_size=card.image_size,
        input=given["input"],
        clip=_clip(given.get("clip"), card),
        max_unreadable=_max_unreadable(given.get("max_unreadable")),
        pin=_pin(model, is_named="model" in given),
        card=card,
        owner=key.name if key else None,
        **options,
    )


def _members(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidRequestError("the body is not a JSON object")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name not in MEMBERS:
            known = ", ".join(MEMBERS)
            raise InvalidRequestError(
                f"unknown member {quoted(name)}: known are {known}"
            )
        if name in _TEXTS and not isinstance(value, str):
            raise InvalidRequestError(f"{name}={quoted(value)} is not a text")
    return given


def _selectors(given: dict[str, Any]) -> dict[str, str]:
    version = given.get("version")
    if isinstance(version, bool | float | list | dict):
        raise InvalidRequestError(f"version={quoted(version)} is not a whole number")
    names = ("model", "version", "label")
    return {name: str(given[name]) for name in names if name in given}


def _pin(model: ModelRef, *, is_named: bool) -> str | None:
    if model.version is not None:
        return f"version={model.version}"
    if model.label is not None:
        return f"label={model.label}"
    return None if is_named else BY_DEFAULT


def _max_unreadable(value: Any) -> str | None:
    # 0.05 could be meant for a share: JobRequest says what can be said.
    if isinstance(value, bool | list | dict):
        raise InvalidRequestError(
            f"max_unreadable={quoted(value)} is no share and no count"
        )
    return None if value is None else str(value)


def _clip(value: Any, card: ModelCard) -> float | None:
    bound = parse_clip(None if value is None else str(value), card.clip_bound)
    if bound is not None:
        check_clip_bound(bound, len(card.labels))
    return bound
