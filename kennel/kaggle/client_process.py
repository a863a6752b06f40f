"""Kaggle's client in a process of its own, run as a file; it imports nothing of kennel.

Importing the client signs in, which prints, may call Kaggle and may hang; its errors
hold addresses and headers. Here all that it prints is dropped, and the parent process
can end it. A request comes in on stdin, one line of JSON goes out for each of:

    {"uploaded": true}     Kaggle has the file; from now on it may count as submitted
    {"answer": ...}        the end
    {"trouble": {"kind", "status", "detail"}}    the end after an error
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

_LONGEST_DETAIL = 300


def main() -> None:
    """Do what the request on stdin says."""
    request = json.load(sys.stdin)
    tell = _private_stdout()
    api: Any = None
    try:
        api = import_module("kaggle").api
        if api.CONFIG_NAME_AUTH_METHOD not in api.config_values:
            # The import has tried it and hidden the error.
            api.authenticate()
        work = _submit if request["do"] == "submit" else _submissions
        tell(work(api, request, tell))
    except ImportError:
        tell({"trouble": {"kind": "not_installed"}})
    except SystemExit:
        # Without credentials the client prints a message and exits.
        tell({"trouble": {"kind": "no_credentials"}})
    except Exception as error:
        # A composition root; an unknown error's text may hold credentials.
        tell({"trouble": _trouble(error, api)})


def _private_stdout() -> Callable[[dict[str, Any]], None]:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)

    def tell(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    return tell


def _submit(
    api: Any, request: dict[str, Any], tell: Callable[..., None]
) -> dict[str, Any]:
    upload = api.upload_complete
    client = import_module("kaggle.api.kaggle_api_extended")

    def watched(*arguments: Any, **options: Any) -> Any:
        result = upload(*arguments, **options)
        # Reported before the next call: without an answer to that, it may count.
        if result == client.ResumableUploadResult.COMPLETE:
            tell({"uploaded": True})
        return result

    api.upload_complete = watched
    answer = api.competition_submit(
        request["csv"], request["message"], request["competition"], quiet=True
    )
    if answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
        return {"trouble": {"kind": "upload_failed"}}
    return {"answer": {"ref": answer.ref, "message": _cleaned(answer.message, api)}}


def _submissions(api: Any, request: dict[str, Any], _: object) -> dict[str, Any]:
    found = api.competition_submissions(request["competition"]) or []
    return {"answer": [_submission(each) for each in found if each is not None]}


def _submission(found: Any) -> dict[str, Any]:
    return {
        "ref": found.ref,
        "date": found.date.isoformat() if found.date else None,
        "status": found.status.name.lower(),
        "public_score": found.public_score or None,
        "private_score": found.private_score or None,
        "file": found.file_name,
        "description": found.description,
        "error": found.error_description or None,
    }


def _trouble(error: Exception, api: Any) -> dict[str, Any]:
    response = getattr(error, "response", None)
    if response is not None:
        detail = _cleaned(_detail(response), api)
        return {"kind": "refused", "status": response.status_code, "detail": detail}
    # requests' own errors are OSErrors, a page that is no JSON is a ValueError as well.
    unreachable = isinstance(error, OSError) and not isinstance(error, ValueError)
    return {"kind": "unreachable" if unreachable else type(error).__name__}


def _detail(response: Any) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _cleaned(text: str, api: Any) -> str:
    for secret in _secrets(api):
        text = text.replace(secret, "***")
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown[:_LONGEST_DETAIL]


def _secrets(api: Any) -> list[str]:
    values = {} if api is None else dict(api.config_values)
    names = ("KAGGLE_KEY", "KAGGLE_API_TOKEN")
    found = [values.get("key"), values.get("token"), *map(os.environ.get, names)]
    secrets = [str(each) for each in found if each]
    user = values.get("username") or os.environ.get("KAGGLE_USERNAME") or ""
    pairs = [f"{user}:{each}".encode() for each in secrets]
    return [*secrets, *(base64.b64encode(each).decode() for each in pairs)]


if __name__ == "__main__":
    main()
