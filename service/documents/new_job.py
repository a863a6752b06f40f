"""POST /v1/jobs, described."""

from __future__ import annotations

from typing import Any, Final

from service.budget import TIMEOUT_HEADER
from service.documents.codes import MODEL_CODES
from service.documents.jobs import FORMATS, QUEUED, JobSchema
from service.documents.operations import Answer, Content, Operation

_NEW_JOB: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {"type": "string", "description": "Folder below INPUT_ROOT"},
        "model": {"type": ["string", "null"], "description": "Default: the default"},
        "format": {"enum": [*FORMATS, None], "description": "Default: kaggle-binary"},
        "clip": {
            "type": ["number", "string", "null"],
            "description": "Upper bound of a probability, or `off`; default: the card's",
        },
        "on_unreadable": {
            "enum": ["prior", "fail", None],
            "description": "Write 1/K for a file that is no image (default), or fail",
        },
        "positive": {
            "type": ["string", "null"],
            "description": "Label of the CSV's probability; default: the last one",
        },
    },
    "additionalProperties": False,
}

SUBMIT_JOB: Final = Operation(
    summary="Classify a folder into a CSV",
    description=(
        "The job is pinned to the version that serves the model now. Once it is "
        "accepted it ends with one complete CSV or with a reason."
    ),
    parameters=("Idempotency-Key", TIMEOUT_HEADER),
    bodies=(Content(_NEW_JOB, example={"input": "test", "model": "dogscats"}),),
    answers=(
        Answer(
            "Accepted; follow it at Location",
            (Content(JobSchema, example=QUEUED),),
            status=202,
            headers=("Location", "RateLimit"),
        ),
    ),
    errors=(
        *("bad_request", "too_large", "unsupported_media_type", "invalid_parameter"),
        *("invalid_input", "idempotency_conflict", "queue_unavailable"),
        *MODEL_CODES,
    ),
)
