"""Submissions to Kaggle by its official client, which runs in a process of its own.

Each call has a deadline and is made once: a submission that was sent twice uses up two
of the few that a competition takes in a day. No message holds a credential.

That process runs this file. Importing the client signs in, which prints, may call Kaggle
and may hang; its errors hold addresses and headers. There all that it prints is dropped,
and the parent process can end it. A request comes in on stdin, one line of JSON goes out
for each of:

    {"uploaded": true}     Kaggle has the file; from now on it may count as submitted
    {"answer": ...}        the end
    {"trouble": {"kind", "status", "detail"}}    the end after an error
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from models.errors import InvalidRequestError, KennelError
from models.files import parse_json

_COMPETITION: Final = re.compile("[a-z0-9][a-z0-9-]{0,99}")
_VERBOSE: Final = frozenset({"VERBOSE", "VERBOSE_OUTPUT"})
"""Variables that make the client print its headers, with the credentials."""

_CREDENTIALS: Final = (
    "make a token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN, or "
    "KAGGLE_USERNAME and KAGGLE_KEY"
)
_REASONS: Final[Mapping[str | int, str]] = {
    "not_installed": "Kaggle's client is not installed: pip install 'kennel[kaggle]'",
    "no_credentials": f"there are no credentials that Kaggle takes: {_CREDENTIALS}",
    "unreachable": "Kaggle cannot be reached: look at the network, then try again",
    "upload_failed": "Kaggle did not take the file: try again",
    400: "Kaggle cannot use the request",
    401: f"Kaggle does not know the credentials: {_CREDENTIALS}",
    403: "Kaggle refuses this account: join the competition and accept its rules at "
    "https://www.kaggle.com/competitions/{competition}/rules",
    404: "Kaggle has no competition {competition!r} that takes submissions: the name is "
    "the last part of the competition's address",
    413: "the file is too large for Kaggle",
    429: "too many submissions or requests: a competition takes a few a day, try later",
}


_LONGEST_DETAIL: Final = 300


class KaggleError(KennelError):
    """Kaggle or its client refused, or did not answer."""

    code = "kaggle_error"


def submit_csv(
    csv: Path, competition: str, message: str, env: Mapping[str, str], seconds: float
) -> dict[str, Any]:
    """Submit *csv*; returns Kaggle's ``ref`` of the submission and its ``message``.

    *env* holds the credentials or the path of their file; the call may take *seconds*.

    Raises:
        InvalidRequestError: *competition* is no possible name.
        KaggleError: nothing was submitted, or the outcome is not known: the message
            says which.
    """
    request = {"do": "submit", "csv": str(csv.absolute()), "message": message}
    answer: dict[str, Any] = _call(request, competition, env, seconds)
    return answer


def list_submissions(
    competition: str, env: Mapping[str, str], seconds: float
) -> list[dict[str, Any]]:
    """The account's latest submissions with their scores, the newest first.

    Raises:
        InvalidRequestError: *competition* is no possible name.
        KaggleError: Kaggle refused or cannot be reached.
    """
    answer: list[dict[str, Any]] = _call({"do": "list"}, competition, env, seconds)
    return answer


def _call(
    request: dict[str, str], competition: str, env: Mapping[str, str], seconds: float
) -> Any:
    if not _COMPETITION.fullmatch(competition):
        message = (
            f"{competition!r} is no competition: use the last part of its address, as in "
            "dogs-vs-cats-redux-kernels-edition"
        )
        raise InvalidRequestError(message)
    output = _run({**request, "competition": competition}, env, seconds)
    # A process that is ended while it writes leaves half a line.
    lines = [line for line in output.splitlines(keepends=True) if line.endswith(b"\n")]
    said: dict[str, Any] = {}
    for line in lines:
        said |= parse_json(line)
    if "answer" in said:
        return said["answer"]
    trouble = said.get("trouble", {})
    status = int(trouble.get("status", 0))
    if "uploaded" in said and not 400 <= status < 500:
        message = (
            "the file was uploaded, but Kaggle did not say what became of it: before "
            "you send it again, see whether it is there with "
            f"'kennel kaggle submissions {competition}'"
        )
        raise KaggleError(message)
    if not trouble:
        message = (
            f"Kaggle's client ended, or took more than {seconds:g} s, before it had "
            "submitted anything: try again"
        )
        raise KaggleError(message)
    detail = f" (it says: {trouble['detail']})" if trouble.get("detail") else ""
    raise KaggleError(_reason(trouble["kind"], status, competition) + detail)


def _reason(kind: str, status: int, competition: str) -> str:
    if status >= 500:
        return f"Kaggle fails at the moment ({status}): try again later"
    if status:
        reason = _REASONS.get(status, f"Kaggle refused ({status})")
    else:
        reason = _REASONS.get(kind, f"Kaggle's client failed ({kind})")
    return reason.format(competition=competition)


def _run(request: Mapping[str, str], env: Mapping[str, str], seconds: float) -> bytes:
    try:
        return subprocess.run(
            # With -P neither this kaggle.py nor one in the current folder is imported.
            [sys.executable, "-P", __file__],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: env[name] for name in env if name not in _VERBOSE},
            timeout=seconds,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        return error.output or b""


def main() -> None:
    """Do in the client's process what the request on stdin says."""
    request = parse_json(sys.stdin.read())
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
