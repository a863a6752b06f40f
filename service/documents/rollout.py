"""GET /v1/models/{name}/rollout, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from models.rollouts import STATES
from service.documents.members import Members, choice, count, number, text
from service.documents.operations import Answer, Content, Operation


def _counts(description: str) -> dict[str, Any]:
    return {"required": True, "metadata": {"description": description}}


class SideSchema(Members):
    """What one version did."""

    requests = count("Requests that were for it")
    errors = count("Of these it could not answer; the canary's went to the stable one")
    images = count("Images that it answered")
    p50_ms = number("Median latency, within 5 %; null: no answer yet", allow_none=True)
    p99_ms = number("99th percentile of it", allow_none=True)
    scores = fields.List(
        fields.Integer(),
        **_counts(
            "Images by twentieth of the probability of the last of two labels, or of "
            "the likeliest of several"
        ),
    )
    labels = fields.Dict(
        values=fields.Integer(), **_counts("Images by likeliest label")
    )


class DivergenceSchema(Members):
    """How far the versions' distributions are apart: Jensen-Shannon, 0 to 1 bit."""

    bits = number("Null until both have answered", allow_none=True)
    by_chance = number("What equal versions would show on average", allow_none=True)


class AgreementSchema(Members):
    """What both versions said of the same images."""

    images = count("Images that both answered")
    same_label = number("Share with the same likeliest label", allow_none=True)
    mean_difference = number("Of their probabilities", allow_none=True)
    dropped = count("Images that were not compared, there being too many at once")
    failed = count("Images for which the stable version had no answer")


class ComparisonSchema(Members):
    """The two versions side by side, over all API processes."""

    stable = fields.Nested(SideSchema, required=True)
    canary = fields.Nested(SideSchema, required=True)
    scores = fields.Nested(DivergenceSchema, required=True)
    labels = fields.Nested(DivergenceSchema, required=True)
    agreement = fields.Nested(AgreementSchema, required=True)


class RolloutSchema(Members):
    """A version beside the one that answers."""

    model = text("Name of the model")
    id = text("Of this rollout")
    stable = count("The version that answers", 1)
    canary = count("The version that is tried", 1)
    percent = number("The canary's share of requests that name no version")
    mirror = number("Percent of its requests that the stable version answers too")
    state = choice("How far it is", STATES)
    started = text("When it began, ISO 8601")
    comparison = fields.Nested(ComparisonSchema, required=True, allow_none=True)
    missing = text("Why there is no comparison", allow_none=True)


def _side(requests: int, dogs: int) -> dict[str, Any]:
    return {
        "requests": requests,
        "errors": 0,
        "images": requests,
        "p50_ms": 58.7,
        "p99_ms": 98.7,
        "scores": [requests - dogs, *[0] * 18, dogs],
        "labels": {"cat": requests - dogs, "dog": dogs},
    }


_EXAMPLE: Final = {
    "model": "dogscats",
    "id": "9f3c01ab",
    "stable": 3,
    "canary": 4,
    "percent": 5.0,
    "mirror": 10.0,
    "state": "running",
    "started": "2026-11-21T09:30:00+00:00",
    "comparison": {
        "stable": _side(1900, 1000),
        "canary": _side(100, 52),
        "scores": {"bits": 0.000003, "by_chance": 0.001898},
        "labels": {"bits": 0.000003, "by_chance": 0.001898},
        "agreement": {
            "images": 10,
            "same_label": 1.0,
            "mean_difference": 0.013,
            "dropped": 0,
            "failed": 0,
        },
    },
    "missing": None,
}

SHOW_ROLLOUT: Final = Operation(
    summary="Show a model's last rollout",
    description="What a new version does beside the one that answers, counted live.",
    answers=(
        Answer(
            "The rollout; its comparison is null while the counts cannot be read",
            (Content(RolloutSchema, example=_EXAMPLE),),
        ),
    ),
    errors=("not_found", "model_not_found", "rollout_not_found", "model_not_ready"),
)
