"""Parameters and headers that several operations share, by their names on the wire."""

from __future__ import annotations

from typing import Any, Final

from service.http.budget import TIMEOUT_HEADER
from service.http.headers import REQUEST_ID_HEADER
from service.rollout.gateway import KEY_HEADER
from worker.queue import LONGEST_PAGE, PAGE, STATES

LENGTH_HEADER: Final = "Inference-Header-Content-Length"

PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "model": {
        "in": "query",
        "description": "Name of a served model; default: the service's default model",
        "schema": {"type": "string"},
    },
    "version": {
        "in": "query",
        "description": "Pin a version; not together with `label`",
        "schema": {"type": "integer", "minimum": 1, "maximum": 10**18 - 1},
    },
    "label": {
        "in": "query",
        "description": "The version with this label, as `canary`",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "class": {
        "in": "query",
        "description": "Label to explain; default: the likeliest one",
        "schema": {"type": "string"},
    },
    "clip": {
        "in": "query",
        "description": (
            "Upper bound of a probability, above 1/K and up to 1, or `off`; "
            "default: the bound in the model's card"
        ),
        "schema": {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"const": "off"},
            ]
        },
    },
    "top": {
        "in": "query",
        "description": "Only so many of the likeliest labels",
        "schema": {"type": "integer", "minimum": 1, "maximum": 10**18 - 1},
    },
    "limit": {
        "in": "query",
        "description": "At most so many jobs",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": LONGEST_PAGE,
            "default": PAGE,
        },
    },
    "after": {
        "in": "query",
        "description": "Only jobs older than the one of this id: `next` of a page",
        "schema": {"type": "string"},
    },
    "state": {
        "in": "query",
        "description": "Only jobs in this state",
        "schema": {"enum": list(STATES)},
    },
    "prefix": {
        "in": "query",
        "description": "Only jobs whose id begins so",
        "schema": {"type": "string"},
    },
    TIMEOUT_HEADER: {
        "in": "header",
        "description": (
            "Milliseconds until the answer must be there; moved into 100 to 25000; "
            "default 10000"
        ),
        "schema": {"type": "integer", "minimum": 0, "maximum": 10**12 - 1},
    },
    "Idempotency-Key": {
        "in": "header",
        "description": "1 to 200 visible characters: the same key gives the same job",
        "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
    },
    LENGTH_HEADER: {
        "in": "header",
        "description": "Bytes of JSON, where tensors follow them as bytes",
        "schema": {"type": "integer", "minimum": 0, "maximum": 10**12 - 1},
    },
    KEY_HEADER: {
        "in": "header",
        "description": (
            "During a rollout, requests with the same key get the same version; "
            "default: the request's id"
        ),
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "in": "header",
        "description": "ETag of the copy that the client has",
        "schema": {"type": "string"},
    },
    REQUEST_ID_HEADER: {
        "in": "header",
        "description": (
            "Id of the request in answers and logs: up to 128 of `A-Za-z0-9._-`; "
            "anything else is replaced"
        ),
        "schema": {"type": "string"},
    },
    "traceparent": {
        "in": "header",
        "description": "W3C Trace Context of the caller",
        "schema": {"type": "string"},
    },
}

PATHS: Final = {
    "name": "Name of a served model",
    "job": "Id of a job",
    "image": "Id of an image in a job",
    "version": "Number of a version",
    "label": "Label of a version, as `canary`",
}
"""What the variable parts of paths mean."""

HEADERS: Final[dict[str, dict[str, Any]]] = {
    REQUEST_ID_HEADER: {
        "description": "The request's own id, or a new one",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "Retry-After": {
        "description": "Seconds after which another try makes sense",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-Model-Name": {
        "description": "The model that answered",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-Model-Version": {
        "description": "The version that answered",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-Model-Label": {
        "description": "`canary` where a rollout chose the version that answered",
        "schema": {"type": "string"},
    },
    "Server-Timing": {
        "description": "Milliseconds per part: `decode;dur=1.3, infer;dur=61.0`",
        "required": True,
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of the caller's quota, where there is one",
        "schema": {"type": "string"},
    },
    "Link": {
        "description": 'Where there is another page: `</v1/jobs?...>; rel="next"`',
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "SHA-256 of the content, in quotes",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[^"]+"$'},
    },
    "Location": {
        "description": "Path of the job",
        "required": True,
        "schema": {"type": "string"},
    },
}
