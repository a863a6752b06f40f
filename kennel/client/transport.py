"""HTTP calls with deadlines and retries.

A request that never reached the API is always repeated. One that the API may have
handled is repeated only if it is idempotent. One that timed out is not repeated: the
next attempt would be as slow.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar
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

RETRY_BACKOFF: Final = Backoff(first_seconds=0.2, longest_seconds=5.0)

_LEAST_SECONDS: Final = 0.01
_CHUNK_BYTES: Final = 64 * 1024
_URL: Final = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
_KEY: Final = re.compile(r"[\x21-\x7e]+")
_Content = TypeVar("_Content")

Body: TypeAlias = Callable[[], bytes | Iterable[bytes]]
"""Returns the body; called once for each attempt."""


@dataclass(frozen=True)
class Request:
    """A request that has not been sent yet.

    Attributes:
        path: with its query.
        repeatable: whether it is idempotent.
        divisible: whether a request that is too slow is split instead of repeated.
        answer_seconds: how long one answer may take; None: the client's timeout.
        total_seconds: how long all attempts may take; None: the sum of their timeouts.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    repeatable: bool = True
    divisible: bool = False
    answer_seconds: float | None = None
    total_seconds: float | None = None


class Transport:
    """Connections to one API; thread-safe."""

    def __init__(
        self, url: str, api_key: str | None, timeout_seconds: float, retries: int
    ) -> None:
        """Send requests to the API at *url*, each at most 1 + *retries* times.

        Raises:
            InvalidRequestError: the address or the key is malformed.
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

    def send(self, request: Request) -> bytes:
        """The body of the API's answer.

        Raises:
            ApiError: the API refused or cannot be reached, in all attempts.
        """
        answer_seconds = request.answer_seconds or self._timeout
        total_seconds = request.total_seconds or answer_seconds * (1 + self._retries)
        deadline, attempt = time.monotonic() + total_seconds, 0
        while True:
            left = max(deadline - time.monotonic(), _LEAST_SECONDS)
            try:
                return self._attempt(request, min(answer_seconds, left))
            except ApiError as error:
                pause = RETRY_BACKOFF.jittered(attempt) + _retry_after(error)
                again = attempt < self._retries and _may_repeat(error, request)
                if not again or time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
            attempt += 1

    def send_json(
        self, request: Request, read: Callable[[dict[str, Any]], _Content]
    ) -> _Content:
        """The API's JSON answer, as read by *read*.

        Raises:
            ApiError: as `send`; or another server than a Kennel API answered.
        """
        content = self.send(request)
        try:
            answer = parse_json(content)
            if not isinstance(answer, dict):
                raise TypeError("no JSON object")
            return read(answer)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._no_api(content) from error

    def send_without_answer(self, request: Request) -> None:
        """Send a request whose answer has no body.

        Raises:
            ApiError: as `send`; or another server than a Kennel API answered.
        """
        if content := self.send(request):
            raise self._no_api(content)

    def _attempt(self, request: Request, seconds: float) -> bytes:
        with self._translated(seconds):
            response = self._http.request(
                request.method,
                self._url + request.path,
                body=None if request.body is None else request.body(),
                headers={**self._headers, **request.headers},
                # "connect" also limits each wait while the body is sent.
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


def query_path(path: str, query: Mapping[str, Any]) -> str:
    """*path* with the values of *query* that are not None."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _system_words(error: BaseException | None) -> str:
    # urllib3's own messages wrap the system's error and name Python objects.
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return "no answer"


def _chunks(response: urllib3.BaseHTTPResponse, deadline: float) -> Iterator[bytes]:
    # The socket's timeout restarts with each byte that trickles in.
    while chunk := response.read1(_CHUNK_BYTES):
        if time.monotonic() > deadline:
            raise TimeoutError
        yield chunk


def _has_host(url: str) -> bool:
    try:
        return bool(urllib3.util.parse_url(url).host)
    except LocationParseError:
        return False


def _may_repeat(error: ApiError, request: Request) -> bool:
    if isinstance(error, ApiTimeoutError):
        return False
    if isinstance(error, ApiUnreachableError):
        return request.repeatable or not error.sent
    if error.status == TOO_SLOW and request.divisible:
        return False
    return isinstance(error, ApiBusyError) and request.repeatable


def _retry_after(error: ApiError) -> float:
    return error.retry_after_seconds if isinstance(error, ApiBusyError) else 0.0
