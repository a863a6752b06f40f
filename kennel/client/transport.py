"""HTTP calls with deadlines and retries.

A call that never reached the API may always be repeated. One that may have been done is
repeated only if doing it twice is the same as once; one that is slow is not, because the
next would be as slow.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict, TypeVar
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from kennel.client.errors import (
    TOO_SLOW,
    ApiBusyError,
    ApiError,
    ApiTimeoutError,
    ApiUnreachableError,
    read_problem,
    shown_body,
)
from models.backoff import Backoff
from models.errors import InvalidRequestError
from models.files import parse_json

Body: TypeAlias = Callable[[], bytes | Iterable[bytes]]
"""Makes the body, anew for each attempt."""


@dataclass(frozen=True)
class Call:
    """A request that has not been sent yet.

    Attributes:
        path: with its query.
        repeatable: whether doing it twice is the same as doing it once.
        divisible: whether what is too slow as a whole is sent in parts instead.
        answer_seconds: how long one answer may take; None: as the client says.
        total_seconds: how long all attempts may take; None: as long as that many answers.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    repeatable: bool = True
    divisible: bool = False
    answer_seconds: float | None = None
    total_seconds: float | None = None


class VersionChoice(TypedDict, total=False):
    """Which model, and which version of it; the default model's newest without."""

    model: str | None
    version: int | str | None
    label: str | None
    clip: float | str | None


class PredictOptions(VersionChoice, total=False):
    """The query of a prediction."""

    top: int | None


class JobOptions(VersionChoice, total=False):
    """The members of a job."""

    format: str | None
    on_unreadable: str | None
    max_unreadable: str | int | None
    positive: str | None
    priority: str | None
    manifest: str | Path | None
    sample_submission: str | Path | None


def query_path(path: str, query: Mapping[str, Any]) -> str:
    """*path* with those of *query* that are not None."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


_LEAST_SECONDS: Final = 0.01
_CHUNK_BYTES: Final = 64 * 1024
_URL: Final = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
_KEY: Final = re.compile(r"[\x21-\x7e]+")

_Read = TypeVar("_Read")


class Transport:
    """Connections to one API; thread-safe."""

    def __init__(
        self, url: str, api_key: str | None, timeout_seconds: float, retries: int
    ) -> None:
        """Ask the API at *url*, each call at most 1 + *retries* times.

        Raises:
            InvalidRequestError: the address or the key cannot be one.
        """
        if not _URL.fullmatch(url) or not _has_host(url):
            message = (
                f"url={url!r} is no address: use http://127.0.0.1:8000, and an IPv6 "
                "address in brackets, http://[::1]:8000"
            )
            raise InvalidRequestError(message)
        if api_key is not None and not _KEY.fullmatch(api_key):
            raise InvalidRequestError("the API key holds characters that no key has")
        self._url = url.rstrip("/")
        self._timeout = timeout_seconds
        self._retries = retries
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = urllib3.PoolManager(retries=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def ask(self, call: Call) -> bytes:
        """The body of the API's answer.

        Raises:
            ApiError: the API refused or cannot be reached, in all attempts.
        """
        answer_seconds = call.answer_seconds or self._timeout
        total_seconds = call.total_seconds or answer_seconds * (1 + self._retries)
        deadline = time.monotonic() + total_seconds
        for attempt in count():
            left = max(deadline - time.monotonic(), _LEAST_SECONDS)
            try:
                return self._attempt(call, min(answer_seconds, left))
            except ApiError as error:
                pause = pause_seconds(error, attempt)
                again = attempt < self._retries and may_repeat(error, call)
                if not again or time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
        raise AssertionError("count() does not end")

    def send(self, call: Call) -> None:
        """Make a call that is answered without a body.

        Raises:
            ApiError: as `ask`; or it is not this API that answers.
        """
        if content := self.ask(call):
            raise self._no_api(content)

    def ask_json(self, call: Call, read: Callable[[dict[str, Any]], _Read]) -> _Read:
        """What *read* makes of the JSON object that the API answers.

        Raises:
            ApiError: as `ask`; or it is not this API that answers.
        """
        content = self.ask(call)
        try:
            answer = parse_json(content)
            if not isinstance(answer, dict):
                raise TypeError("no JSON object")
            return read(answer)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._no_api(content) from error

    def _attempt(self, call: Call, seconds: float) -> bytes:
        with self._translated(seconds):
            response = self._http.request(
                call.method,
                self._url + call.path,
                body=None if call.body is None else call.body(),
                headers={**self._headers, **call.headers},
                # The first also limits each wait while the body is sent.
                timeout=urllib3.Timeout(
                    connect=min(self._timeout, seconds), read=seconds
                ),
                redirect=False,
                preload_content=False,
            )
            deadline = time.monotonic() + seconds
            with closing(response):
                content = b"".join(_chunks(response, deadline))
        if not 200 <= response.status < 300:
            raise read_problem(response.status, response.headers, content)
        kind = response.headers.get("Content-Type", "")
        if content and kind.startswith("text/html"):
            raise self._no_api(content)
        return content

    def _no_api(self, content: bytes) -> ApiError:
        message = f"{self._url} is no Kennel API: it answered {shown_body(content)}"
        return ApiError(f"{message}: check the address")

    @contextmanager
    def _translated(self, seconds: float) -> Iterator[None]:
        try:
            yield
        except (NewConnectionError, ConnectTimeoutError) as error:
            message = (
                f"no API at {self._url} ({_system_words(error)}): start it with 'kennel "
                "up', or name another with --url"
            )
            raise ApiUnreachableError(message) from error
        except LocationParseError as error:
            message = f"{self._url} is no address ({error}): use http://127.0.0.1:8000"
            raise InvalidRequestError(message) from error
        except SSLError as error:
            message = (
                f"no HTTPS connection to {self._url} ({_system_words(error)}): see the "
                "address"
            )
            raise ApiUnreachableError(message) from error
        except (ReadTimeoutError, TimeoutError) as error:
            message = f"no answer from {self._url} within {seconds:.3g} s: try again"
            raise ApiTimeoutError(message) from error
        except HTTPError as error:
            message = (
                f"the connection to {self._url} broke off ({_system_words(error)}): try "
                "again"
            )
            broken = ApiUnreachableError(message)
            broken.sent = True
            raise broken from error


def _system_words(error: BaseException | None) -> str:
    # urllib3 wraps what the system says into words of its own, with its objects in them.
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return "no answer"


def _chunks(response: urllib3.BaseHTTPResponse, deadline: float) -> Iterator[bytes]:
    # The socket's own limit begins anew with each byte that trickles in.
    while chunk := response.read1(_CHUNK_BYTES):
        if time.monotonic() > deadline:
            raise TimeoutError
        yield chunk


def _has_host(url: str) -> bool:
    try:
        return bool(urllib3.util.parse_url(url).host)
    except LocationParseError:
        return False


BACKOFF: Final = Backoff(first_seconds=0.2, longest_seconds=5.0)


def may_repeat(error: ApiError, call: Call) -> bool:
    """Whether *call*, which met *error*, is tried again."""
    if isinstance(error, ApiTimeoutError):
        return False
    if isinstance(error, ApiUnreachableError):
        return call.repeatable or not error.sent
    if error.status == TOO_SLOW and call.divisible:
        return False
    return isinstance(error, ApiBusyError) and call.repeatable


def pause_seconds(error: ApiError, attempt: int) -> float:
    """How long to wait after *attempt* (from 0): the backoff, after what the API asked."""
    asked = error.retry_after_seconds if isinstance(error, ApiBusyError) else 0.0
    return asked + BACKOFF.jittered(attempt)
