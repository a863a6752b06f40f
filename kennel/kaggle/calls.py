"""Submissions to Kaggle by its official client, which runs in a process of its own.

Each call has a deadline and is made once: a submission that was sent twice uses up two
of the few that a competition takes in a day. No message holds a credential.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kennel.kaggle import client_process
from models.errors import InvalidRequestError, KennelError

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
        said |= json.loads(line)
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
            # As a file and with -P: a kaggle.py in the current folder is not imported.
            [sys.executable, "-P", str(Path(client_process.__file__))],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: env[name] for name in env if name not in _VERBOSE},
            timeout=seconds,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        return error.output or b""
