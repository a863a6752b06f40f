"""POST /v1/jobs, described."""

from __future__ import annotations

from typing import Any, Final

from service.documents.codes import MODEL_CODES
from service.documents.jobs import PRIORITIES, QUEUED, JobSchema
from service.documents.operations import Answer, Content, Operation
from service.documents.predictions import BYTES
from service.http.budget import TIMEOUT_HEADER
from worker.queue import FORMATS

_MEMBERS: Final[dict[str, Any]] = {
    "model": {"type": ["string", "null"], "description": "Default: the default"},
    "version": {
        "type": ["integer", "string", "null"],
        "description": "Pin a version; not together with `label`",
    },
    "label": {
        "type": ["string", "null"],
        "description": "Pin the version that has this label now",
    },
    "format": {
        "enum": [*FORMATS, None],
        "description": (
            "Default: as the sample has it, or kaggle-binary. `label` writes the most "
            "probable label of each image, by name, or by number if the sample does"
        ),
    },
    "clip": {
        "type": ["number", "string", "null"],
        "description": "Upper bound of a probability, or `off`; default: the card's",
    },
    "on_unreadable": {
        "enum": ["prior", "fail", None],
        "description": "Write 1/K for a file that is no image (default), or fail",
    },
    "max_unreadable": {
        "type": ["string", "integer", "null"],
        "description": (
            "More unreadable images, or all of them, end the job without a CSV: a share "
            "of the images like `5%`, or a count like `20`; default: 5%, and at least 3 "
            "images"
        ),
    },
    "positive": {
        "type": ["string", "null"],
        "description": "Label of the CSV's probability; default: the last one",
    },
    "priority": {
        "enum": [*PRIORITIES, None],
        "description": (
            "Which job gets workers first, default: normal; jobs of one priority share "
            "them"
        ),
    },
}
_NAMED_SHEETS: Final[dict[str, Any]] = {
    "manifest": {
        "type": ["string", "null"],
        "description": (
            "Path below the input folder of a CSV that lists the images to classify, in its "
            "order: a column `file` (or `filename`, `image`, `img`, `path`, `image_id` and the "
            "like) relative to the input, and perhaps `id`"
        ),
    },
    "sample_submission": {
        "type": ["string", "null"],
        "description": (
            "Path below the input folder of Kaggle's sample: the CSV gets its header, and its "
            "ids in its order. It decides the format, unless `format` is given: by its "
            "columns, and by its values whether these are probabilities or labels"
        ),
    },
}
_SENT_SHEETS: Final[dict[str, Any]] = {
    "manifest": {
        **BYTES,
        "description": "A CSV that lists the images, as in JSON; up to 64 MiB",
    },
    "sample_submission": {
        **BYTES,
        "description": "Kaggle's sample of the CSV to be made; up to 64 MiB",
    },
}
_FOLDER: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {"type": "string", "description": "Folder below the input folder"},
        **_MEMBERS,
        **_NAMED_SHEETS,
    },
    "additionalProperties": False,
}
_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "anyOf": [{"required": ["archive"]}, {"required": ["input"]}],
    "properties": {
        "archive": {
            **BYTES,
            "description": "A zip, tar or tar.gz of photos; within the limit of GET /v1/info",
        },
        "input": {
            "type": "string",
            "description": "What to call the archive, or the folder below the input folder",
        },
        **_MEMBERS,
        **_SENT_SHEETS,
    },
    "additionalProperties": False,
}
_ARCHIVES: Final = ("application/zip", "application/x-tar", "application/gzip")

SUBMIT_JOB: Final = Operation(
    summary="Classify a folder into a CSV",
    description=(
        "Of a folder below the input folder, named in JSON; or of an archive that is sent "
        "along, as a file of a form or as the body itself, with the members of the JSON "
        "in the form or the query. A form may also bring the CSV files `manifest` and "
        "`sample_submission`, for an archive or for a folder. The job is pinned to the "
        "version that serves the model now. Once it is accepted it ends with one "
        "complete CSV or with a reason."
    ),
    parameters=("Idempotency-Key", TIMEOUT_HEADER),
    bodies=(
        Content(_FOLDER, example={"input": "test", "model": "dogscats"}),
        Content(_FORM, "multipart/form-data"),
        *(Content(BYTES, archive) for archive in _ARCHIVES),
    ),
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
        "too_many_images",
        *(
            "invalid_input",
            "invalid_archive",
            "idempotency_conflict",
            "queue_unavailable",
            "storage_unavailable",
        ),
        "insufficient_storage",
        *MODEL_CODES,
    ),
)
