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
from kennel.kaggle.errors import KaggleError, read_trouble, uncertain
from models.errors import InvalidRequestError

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
