"""The HTTP API's client, as the command line and the demo use it."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3

from models.errors import KennelError

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0


class ApiError(KennelError):
    """The API answered with a problem, or cannot be reached."""

    def __init__(self, message: str, status: int = 0, code: str = "api_error") -> None:
        """Keep the HTTP *status* (0: no answer) beside message and code."""
        super().__init__(message, code=code)
        self.status = status


class ApiClient:
    """Talks to one Kennel API."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """Use the API at *url*, for example ``http://127.0.0.1:8000``, with an API key."""
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        self._http = urllib3.PoolManager(timeout=timeout, retries=False)

    def predict(self, files: Sequence[Path], **query: str | None) -> dict[str, Any]:
        """Probabilities for *files*, in one request.

        Raises:
            ApiError: the API refused; OSError: a file cannot be read.
        """
        fields = [("image", _part(file)) for file in files]
        query_text = "&".join(f"{k}={v}" for k, v in query.items() if v is not None)
        path = "/v1/predict" + (f"?{query_text}" if query_text else "")
        return self._json("POST", path, fields=fields)

    def get(self, path: str) -> dict[str, Any]:
        """The JSON at *path*.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return self._json("GET", path)

    def post(self, path: str, body: object = None) -> dict[str, Any]:
        """The JSON answer to posting *body* as JSON.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        headers = {"Content-Type": "application/json"}
        return self._json("POST", path, body=json.dumps(body or {}), headers=headers)

    def download(self, path: str) -> bytes:
        """The bytes at *path*.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return self._request("GET", path)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._request(method, path, **options))
        return answer

    def _request(self, method: str, path: str, **options: Any) -> bytes:
        options["headers"] = {**self._headers, **options.get("headers", {})}
        try:
            response = self._http.request(method, self._url + path, **options)
        except urllib3.exceptions.HTTPError as error:
            message = f"no API at {self._url}: start it with 'kennel up' ({error})"
            raise ApiError(message) from error
        if response.status >= 400:
            raise _problem(response.status, response.data)
        return response.data


def _part(file: Path) -> tuple[str, bytes, str]:
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return (file.name, file.read_bytes(), kind)


def _problem(status: int, body: bytes) -> ApiError:
    try:
        problem = json.loads(body)
        detail, code = problem["detail"], problem["code"]
    except (ValueError, KeyError, TypeError):
        return ApiError(f"the API answered {status}: {body[:200]!r}", status)
    parts = [str(detail), *(_file_problem(each) for each in problem.get("errors", []))]
    return ApiError("\n  ".join(parts), status, code)


def _file_problem(problem: dict[str, Any]) -> str:
    return f"{problem.get('name') or 'image'}: {problem.get('detail')}"
