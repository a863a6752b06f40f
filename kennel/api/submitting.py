"""The call that starts a job, in the lightest form that can hold what is to be sent.

A folder of the service is a line of JSON, an archive is the body itself; with CSV files
from here, both are parts of a form.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kennel.api.call import Call
from kennel.api.forms import make_form
from kennel.api.options import JobOptions, query_path
from kennel.api.uploads import (
    ANSWER_SECONDS,
    TOTAL_SECONDS,
    LeftOut,
    Sent,
    Upload,
    prepare_sheet,
    prepare_upload,
)


def submit_call(
    source: str | Path,
    options: JobOptions,
    on_sent: Sent | None = None,
    on_left_out: LeftOut | None = None,
) -> Call:
    """What starts a job with *source*: a folder of the service, or a `Path` here.

    Each call of this makes an Idempotency-Key, so that its call may be repeated.

    Raises:
        InvalidRequestError: there is no such folder, archive or CSV file here.
        OSError: it cannot be read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    sheets = {
        name: prepare_sheet(value)
        for name, value in given.items()
        if isinstance(value, Path)
    }
    texts = {name: value for name, value in given.items() if name not in sheets}
    if isinstance(source, Path):
        archive = prepare_upload(source)
        if on_left_out is not None and archive.left_out:
            on_left_out(archive.left_out)
        texts = {"input": archive.name, **texts}
        if not sheets:
            return _upload(query_path("/v1/jobs", texts), archive, on_sent)
        sheets = {**sheets, "archive": archive}
    else:
        texts = {"input": source, **texts}
    return (
        _upload("/v1/jobs", make_form(texts, sheets), on_sent)
        if sheets
        else _json(texts)
    )


def _json(members: Mapping[str, Any]) -> Call:
    body = json.dumps(members).encode()
    headers = {**_key(), "Content-Type": "application/json"}
    return Call("POST", "/v1/jobs", headers, lambda: body)


def _upload(path: str, upload: Upload, on_sent: Sent | None) -> Call:
    def body() -> Iterator[bytes]:
        count = 0
        for chunk in upload.chunks():
            yield chunk
            count += len(chunk)
            if on_sent is not None:
                on_sent(count, upload.size)

    kind, size = upload.content_type, str(upload.size)
    return Call(
        "POST",
        path,
        {**_key(), "Content-Type": kind, "Content-Length": size},
        body,
        answer_seconds=ANSWER_SECONDS,
        total_seconds=TOTAL_SECONDS,
    )


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}
