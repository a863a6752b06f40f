"""Errors of the HTTP edge, in the order in which a request meets them.

KennelError
|-- MalformedRequestError   not valid HTTP
|-- SlowClientError         its body did not arrive in time
|-- MisdirectedError        its Host is not allowed
|-- UnauthenticatedError    no key, or an unknown one
|-- ForbiddenError          the key may not do this
|-- RateLimitedError        the quota is used up for now
|-- ClientGoneError         the client has disconnected
|-- InvalidRequestError
|   `-- ContentEncodingError    compressed in a way that is not decoded here
`-- ModelOverloadedError
    `-- OverloadedError         this process is overloaded

``headers`` go into the answer beside the problem.
"""

from __future__ import annotations

import math
from typing import Final

from models.errors import (
    InvalidRequestError,
    KennelError,
    ModelOverloadedError,
    quoted,
)

BAD_REQUEST: Final = "bad_request"
UNSUPPORTED_MEDIA_TYPE: Final = "unsupported_media_type"
"""Codes of errors that have no class of their own."""

ACCEPTED_ENCODINGS: Final = "gzip, deflate"

_MAX_RETRY_SECONDS: Final = 30


class MalformedRequestError(KennelError):
    """The bytes on the connection are not a valid request."""

    code = BAD_REQUEST


class SlowClientError(KennelError):
    """The client fell silent in the middle of its request."""

    code = "request_timeout"


class MisdirectedError(KennelError):
    """The request's Host is no name of this service."""

    code = "misdirected_request"


class UnauthenticatedError(KennelError):
    """The request carries no valid API key."""

    code = "unauthenticated"

    def __init__(self, message: str, *, invalid: bool = False) -> None:
        """Say *message*; *invalid*: there was a key, but it is not known (RFC 6750)."""
        super().__init__(message)
        error = ', error="invalid_token"' if invalid else ""
        self.headers = {"WWW-Authenticate": f'Bearer realm="kennel"{error}'}


class ForbiddenError(KennelError):
    """The sender is known, and may not do this."""

    code = "forbidden"


class RateLimitedError(KennelError):
    """The sender's quota is used up for now."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        """Say *message*, and when to try again."""
        super().__init__(message)
        self.headers = {"Retry-After": str(retry_after_seconds)}


class ClientGoneError(KennelError):
    """The client closed its connection before it had its answer."""

    code = "client_gone"


class ContentEncodingError(InvalidRequestError):
    """A Content-Encoding that is not decoded here; ``headers`` list those that are."""

    code = UNSUPPORTED_MEDIA_TYPE

    def __init__(self, encoding: str) -> None:
        """Refuse *encoding*, a header's value."""
        super().__init__(
            f"Content-Encoding {quoted(encoding)} is not decoded here: send gzip, "
            "deflate or an uncompressed body"
        )
        self.headers = {"Accept-Encoding": ACCEPTED_ENCODINGS}


class OverloadedError(ModelOverloadedError):
    """This process is overloaded; ``headers`` say when to try again."""

    def __init__(self, message: str, wait_seconds: float) -> None:
        """Suggest to try again after *wait_seconds*, in whole seconds from 1 to 30."""
        super().__init__(f"{message}: try again, or send a folder job")
        bounded = min(max(wait_seconds, 1.0), _MAX_RETRY_SECONDS)
        self.headers = {"Retry-After": str(math.ceil(bounded))}
