"""Asks Kaggle through its client's process: each call ends, and is made once.

Nothing is tried again here: a submission that was sent twice uses up two of the few that
a competition takes in a day.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.kaggle import client_process
from models.errors import InvalidRequestError, KennelError

_COMPETITION: Final = re.compile("[a-z0-9][a-z0-9-]{0,99}")
_TALKATIVE: Final = frozenset({"VERBOSE", "VERBOSE_OUTPUT"})
"""They make the client print its headers, the credentials among them."""


@dataclass(frozen=True)
class KaggleCalls:
    """Calls about one competition.

    Attributes:
        env: the environment, which holds or leads to the credentials.
        timeout_seconds: how long one call may take, uploads included.
    """

    competition: str
    env: Mapping[str, str]
    timeout_seconds: float

    def submit(self, csv: Path, message: str) -> dict[str, Any]:
        """Hand *csv* in; Kaggle's ``ref`` of the submission and its ``message``.

        Raises:
            InvalidRequestError: *competition* cannot be a name.
            KaggleError: nothing was submitted.
            KaggleUncertainError: it may have been submitted.
        """
        request = {"do": "submit", "csv": str(csv.absolute()), "message": message}
        answer: dict[str, Any] = self._ask(request)
        return answer

    def submissions(self) -> list[dict[str, Any]]:
        """The account's latest submissions with their scores, the newest first.

        Raises:
            InvalidRequestError: *competition* cannot be a name.
            KaggleError: Kaggle refused or cannot be reached.
        """
        answer: list[dict[str, Any]] = self._ask({"do": "submissions"})
        return answer

    def _ask(self, request: dict[str, Any]) -> Any:
        if not _COMPETITION.fullmatch(self.competition):
            message = (
                f"{self.competition!r} is no competition: use the last part of its "
                "address, as in dogs-vs-cats-redux-kernels-edition"
            )
            raise InvalidRequestError(message)
        return self._read(self._run({**request, "competition": self.competition}))

    def _run(self, request: dict[str, Any]) -> bytes:
        env = {name: self.env[name] for name in self.env if name not in _TALKATIVE}
        try:
            return subprocess.run(
                # As a file, and -P: no kaggle.py of the current folder gets the key.
                [sys.executable, "-P", str(Path(client_process.__file__))],
                input=json.dumps(request).encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=env,
                timeout=self.timeout_seconds,
                check=False,
            ).stdout
        except subprocess.TimeoutExpired as error:
            return error.output or b""

    def _read(self, output: bytes) -> Any:
        told: dict[str, Any] = {}
        # A process that is ended while it writes leaves half a line.
        for line in output.splitlines(keepends=True):
            if line.endswith(b"\n"):
                told.update(json.loads(line))
        if "answer" in told:
            return told["answer"]
        uploaded = "uploaded" in told
        if "trouble" in told:
            raise read_trouble(told["trouble"], self.competition, uploaded=uploaded)
        if uploaded:
            raise uncertain(self.competition)
        message = (
            f"Kaggle's client ended, or took more than {self.timeout_seconds:g} s, "
            "before it had submitted anything: try again"
        )
        raise KaggleError(message)


CREDENTIALS: Final = (
    "make a token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN, or "
    "KAGGLE_USERNAME and KAGGLE_KEY"
)

_REFUSALS: Final = {
    400: "Kaggle cannot use the request",
    401: f"Kaggle does not know the credentials: {CREDENTIALS}",
    403: "Kaggle refuses this account: join the competition and accept its rules at "
    "https://www.kaggle.com/competitions/{competition}/rules",
    404: "Kaggle has no competition {competition!r} that takes submissions: the name is "
    "the last part of the competition's address",
    413: "the file is too large for Kaggle",
    429: "too many submissions or requests: a competition takes a few a day, try later",
}
_TROUBLES: Final = {
    "not_installed": "Kaggle's client is not installed: pip install 'kennel[kaggle]'",
    "no_credentials": f"there are no credentials that Kaggle takes: {CREDENTIALS}",
    "unreachable": "Kaggle cannot be reached: look at the network, then try again",
    "upload_failed": "Kaggle did not take the file: try again",
}


class KaggleError(KennelError):
    """Kaggle or its client refused, or did not answer.

    Attributes:
        status: HTTP status of Kaggle's answer; 0 without one.
    """

    code = "kaggle_error"

    def __init__(self, message: str, status: int = 0) -> None:
        """Keep what happened, without anything secret."""
        super().__init__(message)
        self.status = status


class KaggleUncertainError(KaggleError):
    """The file was uploaded, and what became of it is not known."""


def read_trouble(
    trouble: dict[str, Any], competition: str, *, uploaded: bool
) -> KaggleError:
    """The error for the *trouble* that the client's process told of."""
    kind, status = trouble["kind"], int(trouble.get("status") or 0)
    if uploaded and (status == 0 or status >= 500):
        return uncertain(competition)
    words = _TROUBLES.get(kind) or f"Kaggle's client failed ({kind})"
    if status >= 500:
        words = f"Kaggle fails at the moment ({status}): try again later"
    elif status:
        words = _REFUSALS.get(status, f"Kaggle refused ({status})")
    said = f" (it says: {trouble['detail']})" if trouble.get("detail") else ""
    return KaggleError(words.format(competition=competition) + said, status)


def uncertain(competition: str) -> KaggleUncertainError:
    """The error for an upload without an answer."""
    message = (
        "the file was uploaded, but Kaggle did not say what became of it: before you "
        "send it again, see whether it is there with "
        f"'kennel kaggle submissions {competition}'"
    )
    return KaggleUncertainError(message)
