"""GET /livez and /readyz, described."""

from __future__ import annotations

from typing import Final

from marshmallow import fields

from service.documents.members import Members, text
from service.documents.operations import Answer, Content, Operation


class LifeSchema(Members):
    """The process answers."""

    status = text("`alive`")


class PartSchema(Members):
    """What one neighbour says."""

    status = text("`ok` or `unavailable`")
    code = text("Why not, for programs", required=False)
    detail = text("Why not, for people", required=False)
    model = text("The default model", required=False)
    versions = fields.List(fields.Integer())


class PartsSchema(Members):
    """The neighbours."""

    model_server = fields.Nested(PartSchema, required=True)
    redis = fields.Nested(PartSchema, required=True)
    disk = fields.Nested(PartSchema, required=True)


class ReadinessSchema(Members):
    """Whether predictions can be answered, and what stands in the way."""

    status = text(
        "`ready`, `degraded` (no jobs), `unavailable` (no predictions) or `leaving` "
        "(told to end: it still answers, but send no more)"
    )
    parts = fields.Nested(PartsSchema, required=True)


_READY: Final = {
    "status": "ready",
    "parts": {
        "model_server": {"status": "ok", "model": "dogscats", "versions": [3]},
        "redis": {"status": "ok"},
        "disk": {"status": "ok"},
    },
}
_UNAVAILABLE: Final = {
    "status": "unavailable",
    "parts": {
        "model_server": {
            "status": "unavailable",
            "code": "model_not_ready",
            "detail": "no version of 'dogscats' is available (3 LOADING)",
        },
        "redis": {"status": "ok"},
        "disk": {"status": "ok"},
    },
}

LIVE: Final = Operation(
    keyless=True,
    summary="Is the process up",
    answers=(Answer("It is", (Content(LifeSchema, example={"status": "alive"}),)),),
)

READY: Final = Operation(
    keyless=True,
    summary="Can predictions be answered",
    answers=(
        Answer("They can", (Content(ReadinessSchema, example=_READY),)),
        Answer(
            "They cannot; `parts` says why",
            (Content(ReadinessSchema, example=_UNAVAILABLE),),
            status=503,
            headers=("Retry-After",),
        ),
    ),
)
