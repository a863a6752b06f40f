"""fsspec's drivers: the one place that imports them and knows what they raise.

A driver is imported when a URL asks for it. Credentials come from the driver's own
environment (AWS_*) and stay out of messages, so no message quotes a driver's error.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from rq.timeouts import BaseTimeoutException

from models.errors import InvalidRequestError, StorageUnavailableError

_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    # `Waiting` asks again; what a driver does in between could not be interrupted.
    "s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
}
_HOPELESS: Final = frozenset({errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS})

STORAGE_AWAY: Final = (
    "the service's storage cannot be used now: try again later, or tell the operator, "
    "whose log has the details"
)

_Answer = TypeVar("_Answer")


class StorageRefusedError(StorageUnavailableError):
    """The storage is there and says no: asking again at once is useless."""


class ForbiddenError(StorageRefusedError):
    """These credentials may not do this, or may do nothing there."""


def load_driver(url: str, setting: str) -> None:
    """Import what reads *url*, the value of the environment variable *setting*.

    Raises:
        InvalidRequestError: there is no driver for it.
    """
    import fsspec

    protocol = url.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        message = (
            f"{setting} begins with {protocol}://, for which there is no driver: "
            "install kennel[s3] for s3://, or another driver of fsspec"
        )
        raise InvalidRequestError(message) from error


class Driver:
    """One connection to object storage, made when first used: after the fork."""

    def __init__(self, url: str, setting: str) -> None:
        """Talk to the place at *url*, the value of *setting*, whose driver is loaded."""
        self._url = url
        self._setting = setting
        self._opening = threading.Lock()
        self._opened: tuple[Any, str] | None = None

    def ask(self, question: Callable[[Any, str], _Answer]) -> _Answer:
        """What *question* answers, given fsspec's file system and the place's path.

        Raises:
            FileNotFoundError: what it asks for is not there.
            ForbiddenError: access was refused.
            StorageRefusedError: the storage does not want to answer.
            StorageUnavailableError: it cannot.
        """
        try:
            return question(*self._open())
        except (FileNotFoundError, BaseTimeoutException):
            raise
        except PermissionError as error:
            reason = "access was refused"
            raise ForbiddenError(
                self.explain(reason), visitor_message=STORAGE_AWAY
            ) from error
        except OSError as error:
            kind = StorageRefusedError if error.errno in _HOPELESS else None
            raise (kind or StorageUnavailableError)(
                self._named(error), visitor_message=STORAGE_AWAY
            ) from error
        except Exception as error:
            # Each driver raises what its own libraries raise.
            message = self._named(error)
            raise StorageUnavailableError(
                message, visitor_message=STORAGE_AWAY
            ) from error

    def explain(self, reason: str) -> str:
        """The message for people who cannot use the storage because of *reason*."""
        return (
            f"the storage of {self._setting} cannot be used now ({reason}): check its "
            "address and credentials, then try again"
        )

    def _named(self, error: Exception) -> str:
        return self.explain(type(error).__name__)

    def _open(self) -> tuple[Any, str]:
        import fsspec

        with self._opening:
            if self._opened is None:
                # Nothing of it is cached: a stale listing would be a wrong manifest.
                system, path = fsspec.url_to_fs(
                    self._url,
                    skip_instance_cache=True,
                    use_listings_cache=False,
                    **_OPTIONS.get(self._url.partition("://")[0], {}),
                )
                self._opened = system, str(path).rstrip("/")
            return self._opened
