"""Refusals of protection, in the order in which a request meets them.

KennelError
|-- MalformedRequestError   it is not HTTP as we read it
|-- SlowClientError         it did not arrive in time
|-- MisdirectedError        it calls us by a name that is not ours
|-- UnauthenticatedError    no key, or one that we do not know
|-- ForbiddenError          a key that may not do this
`-- RateLimitedError        too much of it, for now

``headers`` go into the answer beside the problem.
"""

from __future__ import annotations

from models.errors import KennelError


class MalformedRequestError(KennelError):
    """The bytes on the connection are not a valid request."""

    code = "bad_request"


class SlowClientError(KennelError):
    """The request trickles: its connection is wanted by others."""

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
        """Say *message*, and when to come back."""
        super().__init__(message)
        self.headers = {"Retry-After": str(retry_after_seconds)}
