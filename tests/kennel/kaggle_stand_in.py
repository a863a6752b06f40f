"""A stand-in for Kaggle's endpoint on loopback, for its official client.

The client is the real one, unchanged. KAGGLE_API_ENVIRONMENT=LOCALHOST makes it ask
http://localhost, and http_proxy brings that here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result

from kennel.cli import main
from tests.kennel.scripted_api import ScriptedApi, Seen, Step, says, scripted

START, UPLOAD, CREATE = "StartSubmissionUpload", "blob-7", "CreateSubmission"
LIST, INTROSPECT = "ListSubmissions", "IntrospectToken"
INSTALLED: Final = find_spec("kaggle") is not None

USER, SECRET = "rex", "5ecret0123456789abcdef"
KEY: Final = {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": SECRET}
TOKEN: Final = {"KAGGLE_API_TOKEN": SECRET}
BASIC: Final = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()

_SUBMISSION: Final = {
    "ref": 42,
    "date": "2026-11-21T09:30:00Z",
    "status": "COMPLETE",
    "publicScore": "0.05512",
    "fileName": "submission.csv",
    "description": "first",
}
_JSON: Final = {"Content_Type": "application/json"}


def kaggle_says(content: Any, status: int = 200, **headers: str) -> Step:
    return says(content, status, **_JSON, **headers)


def kaggle_refuses(status: int, message: str = "it is so", **headers: str) -> Step:
    return kaggle_says({"code": status, "message": message}, status, **headers)


GOOD: Final[dict[str, Step]] = {
    INTROSPECT: kaggle_says({"active": True, "username": USER}),
    START: kaggle_says(
        {"token": "blob-token", "createUrl": f"http://uploads.test/x/{UPLOAD}"}
    ),
    UPLOAD: says(b"", 201),
    CREATE: kaggle_says({"message": "Successfully submitted", "ref": 42}),
    LIST: kaggle_says({"submissions": [_SUBMISSION]}),
}


@dataclass(frozen=True)
class Kaggle:
    """The endpoint and a home for its client."""

    api: ScriptedApi
    home: Path

    def run(self, *arguments: str, **env: str) -> Result:
        """``kennel kaggle ARGUMENTS`` with a key, unless *env* has credentials."""
        credentials = env if {*KEY, *TOKEN} & set(env) else {**KEY, **env}
        asked = {
            **dict.fromkeys(("no_proxy", "NO_PROXY", "all_proxy", "HTTP_PROXY")),
            **dict.fromkeys((*KEY, *TOKEN)),
            "HOME": str(self.home),
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": self.api.url,
            **credentials,
        }
        return CliRunner().invoke(main, ["kaggle", *arguments], env=asked)

    def submit(self, *arguments: str, **env: str) -> Result:
        csv = self.home / "submission.csv"
        if not csv.exists():
            csv.write_bytes(b"id,label\n1,0.98500000\n2,0.01500000\n")
        options = ("--competition", "cats", "--message", "first", *arguments)
        return self.run("submit", str(csv), *options, **env)

    def calls(self) -> list[str]:
        return [_name(seen.path) for seen in self.api.seen]

    def call(self, name: str) -> Seen:
        return next(seen for seen in self.api.seen if _name(seen.path) == name)


@contextmanager
def kaggle(home: Path, answers: dict[str, Step] | None = None) -> Iterator[Kaggle]:
    """Answers as Kaggle does when all is well, but for *answers*."""
    steps = {**GOOD, **(answers or {})}
    with scripted(lambda handler: steps[_name(handler.path)](handler)) as api:
        yield Kaggle(api, home)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
